//! Tables of connections: clients, servers, and which of them belong together.
//!
//! Both sides are read one after the other, while they change: a link is shown where it was the
//! same at both moments.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::commands::{Column, Row};
use super::registry::{Marks, Registry};
use super::tables::{micros, number, seconds, text};
use crate::calendar::utc;
use crate::cancel::{Seat, Summons};
use crate::client::card::Replication;
use crate::net::peer::Peer;
use crate::net::socket::Address;
use crate::server::card::ServerCard;
use crate::wire::reply::ColumnType::{Integer, Text};
use crate::wire::reply::Value;

/// Of `SHOW CLIENTS` and `SHOW SERVERS`.
pub(super) static CONNECTIONS: &[Column] = &[
    ("type", Text),
    ("user", Text),
    ("database", Text),
    ("replication", Text),
    ("state", Text),
    ("addr", Text),
    ("port", Integer),
    ("local_addr", Text),
    ("local_port", Integer),
    ("connect_time", Text),
    ("request_time", Text),
    ("wait", Integer),
    ("wait_us", Integer),
    ("close_needed", Integer),
    ("ptr", Text),
    ("link", Text),
    ("remote_pid", Integer),
    ("tls", Text),
    ("application_name", Text),
    ("prepared_statements", Integer),
    ("id", Integer),
];

/// Of `SHOW SOCKETS` and `SHOW ACTIVE_SOCKETS`: the same, and where PgBouncer's buffers stand, which
/// we don't have.
pub(super) static SOCKETS: &[Column] = &[
    ("type", Text),
    ("user", Text),
    ("database", Text),
    ("replication", Text),
    ("state", Text),
    ("addr", Text),
    ("port", Integer),
    ("local_addr", Text),
    ("local_port", Integer),
    ("connect_time", Text),
    ("request_time", Text),
    ("wait", Integer),
    ("wait_us", Integer),
    ("close_needed", Integer),
    ("ptr", Text),
    ("link", Text),
    ("remote_pid", Integer),
    ("tls", Text),
    ("application_name", Text),
    ("prepared_statements", Integer),
    ("id", Integer),
    ("recv_pos", Integer),
    ("pkt_pos", Integer),
    ("pkt_remain", Integer),
    ("send_pos", Integer),
    ("send_remain", Integer),
    ("pkt_avail", Integer),
    ("send_avail", Integer),
];

const BUFFERS: usize = 7;

/// All connections at about the same moment.
struct Scene {
    now: SystemTime,
    clients: Vec<Arc<Seat>>,
    servers: Vec<Arc<ServerCard>>,
    /// The same, by where their processes are.
    by_process: HashMap<(Address, u32), Arc<ServerCard>>,
    marks: Marks,
    /// Clients that have a server, by where its process is.
    linked: HashMap<(Address, u32), Arc<Seat>>,
}

/// What a connection does, as PgBouncer says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Waiting,
    Idle,
    /// It has been idle for so long that it is checked first.
    Used,
    Tested,
    /// Its client has left it, and a cancel is on its way to it.
    BeingCanceled,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
            Self::Used => "used",
            Self::Tested => "tested",
            Self::BeingCanceled => "being_canceled",
        }
    }
}

/// What clients and servers are told by.
struct Line<'a> {
    kind: &'static str,
    replication: &'static str,
    user: &'a str,
    database: &'a str,
    state: State,
    /// Their address and ours.
    ends: [(String, u16); 2],
    since: SystemTime,
    asked: SystemTime,
    waited: Duration,
    close_needed: bool,
    ptr: String,
    link: Option<String>,
    pid: u32,
    tls: Option<String>,
    application_name: &'a str,
    prepared: usize,
    id: usize,
}

impl Scene {
    fn look(registry: &dyn Registry) -> Self {
        let mut clients = registry.clients();
        clients.sort_by_key(|seat| seat.pid());
        let mut servers = registry.servers();
        servers.sort_by_key(|card| card.id);
        let linked = clients.iter().filter_map(|seat| {
            let key = seat.server()?;
            Some(((key.address.clone(), key.pid), Arc::clone(seat)))
        });
        let linked = linked.collect();
        let by_process =
            servers.iter().map(|card| ((card.address.clone(), card.pid), Arc::clone(card)));
        let by_process = by_process.collect();
        Self {
            by_process,
            now: SystemTime::now(),
            clients,
            servers,
            marks: registry.marks(),
            linked,
        }
    }

    fn server_of(&self, seat: &Seat) -> Option<&ServerCard> {
        let key = seat.server()?;
        self.by_process.get(&(key.address.clone(), key.pid)).map(|card| &**card)
    }

    fn client_of(&self, card: &ServerCard) -> Option<&Arc<Seat>> {
        self.linked.get(&(card.address.clone(), card.pid))
    }

    fn client<'a>(&self, seat: &'a Seat) -> Line<'a> {
        let card = seat.card();
        let (address, port) = match card.peer {
            Peer::Tcp(address) => (address.ip().to_string(), address.port()),
            Peer::Unix(_) => (card.peer.to_string(), 0),
        };
        let waited = seat.queued().map(|queued| queued.waited);
        Line {
            kind: "C",
            replication: replication(card.replication),
            user: &card.login.user,
            database: &card.login.database,
            state: if waited.is_some() { State::Waiting } else { State::Active },
            ends: [(address, port), card.local.map_or_else(unix, end)],
            since: self.before(card.since.elapsed()),
            asked: self.before(seat.asked_ago()),
            waited: waited.unwrap_or_default(),
            close_needed: seat.summons() != Summons::Stay,
            ptr: client_ptr(seat),
            link: self.server_of(seat).map(server_ptr),
            pid: card.peer.process().and_then(|process| process.pid).unwrap_or(0),
            tls: card.cipher.map(|cipher| cipher.to_string()),
            application_name: card.application_name.as_deref().unwrap_or_default(),
            prepared: seat.prepared(),
            id: seat.pid() as usize,
        }
    }

    fn server<'a>(&'a self, card: &'a ServerCard) -> Line<'a> {
        let client = self.client_of(card);
        let application_name = client.and_then(|seat| seat.card().application_name.as_deref());
        Line {
            kind: "S",
            replication: replication(client.and_then(|seat| seat.card().replication)),
            user: &card.owner.user,
            database: &card.owner.database,
            state: match client {
                Some(_) => State::Active,
                None => self.state_alone(card),
            },
            ends: card
                .ends
                .map_or_else(|| [unix(), unix()], |(ours, theirs)| [end(theirs), end(ours)]),
            since: self.before(card.since.elapsed()),
            asked: self.before(card.asked_ago()),
            waited: Duration::ZERO,
            close_needed: self.marks.closing.contains(&card.id),
            ptr: server_ptr(card),
            link: client.map(|seat| client_ptr(seat)),
            pid: card.pid,
            tls: card.cipher.map(|cipher| cipher.to_string()),
            application_name: application_name.unwrap_or_default(),
            prepared: card.prepared(),
            id: usize::try_from(card.id).unwrap_or(usize::MAX),
        }
    }

    /// Of a server without a client.
    fn state_alone(&self, card: &ServerCard) -> State {
        let Marks { stale, held, .. } = &self.marks;
        if held.contains(&(card.address.clone(), card.pid)) {
            State::BeingCanceled
        } else if card.is_tended() {
            State::Tested
        } else if stale.contains(&card.id) {
            State::Used
        } else {
            State::Idle
        }
    }

    fn before(&self, ago: Duration) -> SystemTime {
        self.now.checked_sub(ago).unwrap_or(UNIX_EPOCH)
    }
}

/// What a client asks for instead of statements, if it does.
fn replication(kind: Option<Replication>) -> &'static str {
    match kind {
        None => "none",
        Some(Replication::Physical) => "physical",
        Some(Replication::Logical) => "logical",
    }
}

/// An end of a connection.
fn end(end: SocketAddr) -> (String, u16) {
    (end.ip().to_string(), end.port())
}

/// That of one by a unix socket.
fn unix() -> (String, u16) {
    ("unix".to_owned(), 0)
}

/// Not an address, but as unique as one, and as PgBouncer writes it.
fn client_ptr(seat: &Seat) -> String {
    format!("0x{:012x}", seat.pid())
}

fn server_ptr(card: &ServerCard) -> String {
    format!("0x{:012x}", card.id.wrapping_add(1 << 40))
}

impl Line<'_> {
    fn plain(self) -> Row {
        let state = self.state.word().to_owned();
        self.row(state)
    }

    fn row(self, state: String) -> Row {
        let [(addr, port), (local_addr, local_port)] = self.ends;
        vec![
            text(self.kind),
            text(self.user),
            text(self.database),
            text(self.replication),
            text(state),
            text(addr),
            number(port.into()),
            text(local_addr),
            number(local_port.into()),
            text(utc(self.since)),
            text(utc(self.asked.max(self.since))),
            seconds(self.waited),
            micros(self.waited),
            number(self.close_needed.into()),
            text(self.ptr),
            text(self.link.unwrap_or_default()),
            number(self.pid as usize),
            text(self.tls.unwrap_or_default()),
            text(self.application_name),
            number(self.prepared),
            number(self.id),
        ]
    }
}

pub(super) fn clients(registry: &dyn Registry) -> Vec<Row> {
    let scene = Scene::look(registry);
    let lines = scene.clients.iter().map(|seat| scene.client(seat));
    lines.map(Line::plain).collect()
}

pub(super) fn servers(registry: &dyn Registry) -> Vec<Row> {
    let scene = Scene::look(registry);
    let lines = scene.servers.iter().map(|card| scene.server(card));
    lines.map(Line::plain).collect()
}

pub(super) fn sockets(registry: &dyn Registry) -> Vec<Row> {
    with_buffers(registry, |_| true)
}

pub(super) fn active_sockets(registry: &dyn Registry) -> Vec<Row> {
    with_buffers(registry, |state| !matches!(state, State::Idle | State::Used))
}

fn with_buffers(registry: &dyn Registry, wanted: fn(State) -> bool) -> Vec<Row> {
    let scene = Scene::look(registry);
    let clients = scene.clients.iter().map(|seat| ("cl", scene.client(seat)));
    let servers = scene.servers.iter().map(|card| ("sv", scene.server(card)));
    let rows = clients.chain(servers).filter(|(_, line)| wanted(line.state)).map(|(side, line)| {
        let state = format!("{side}_{}", line.state.word());
        let mut row = line.row(state);
        row.extend((0..BUFFERS).map(|_| Value::Integer(0)));
        row
    });
    rows.collect()
}

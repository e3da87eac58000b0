//! One client: it plays batches, is cancelled, is slow, is cut, and comes back.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::Run;
use crate::model::{Identity, Message, Mismatch, Model};
use crate::plan::{Batch, Fate, Planner};
use crate::wire::{Connection, Cut};

/// Each client finds its tables in one of these.
pub const SCHEMAS: [&str; 4] = ["north", "south", "east", "west"];
const ZONES: [&str; 3] = ["Asia/Tokyo", "Europe/Zurich", "America/Lima"];

/// What a client has done.
#[derive(Debug, Default)]
pub struct Account {
    pub counter: u64,
    pub sunk: u64,
    pub queries: u64,
    pub batches: u64,
    pub cancels: u64,
    pub cuts: u64,
}

impl Account {
    pub fn add(&mut self, other: &Self) {
        let Self { counter, sunk, queries, batches, cancels, cuts } = other;
        self.counter += counter;
        self.sunk += sunk;
        self.queries += queries;
        self.batches += batches;
        self.cancels += cancels;
        self.cuts += cuts;
    }
}

pub struct Client<'a> {
    run: &'a Run,
    index: usize,
    planner: Planner,
    model: Model,
    account: Account,
    /// What was played last, for a failure.
    history: VecDeque<String>,
}

impl<'a> Client<'a> {
    pub fn new(run: &'a Run, index: usize) -> Self {
        let who = Identity {
            schema: SCHEMAS[index % SCHEMAS.len()].to_owned(),
            zone: ZONES[index % ZONES.len()].to_owned(),
            application: format!("crosstalk-{index}"),
        };
        Self {
            run,
            index,
            planner: Planner::new(run.seed, index),
            model: Model::new(who),
            account: Account::default(),
            history: VecDeque::new(),
        }
    }

    /// Plays until enough queries have run, or something is wrong.
    pub fn live(mut self) -> Result<Account, String> {
        let lived = self.play_all();
        if let Err(Mismatch(what)) = lived {
            self.run.failed.store(true, Ordering::Relaxed);
            let servers = self.run.servers();
            let history = Vec::from(self.history).join("\n");
            return Err(format!(
                "client {}:\n{history}\n{what}\nservers:\n{servers}\n",
                self.index
            ));
        }
        self.account.counter = self.model.base.counter;
        self.account.sunk = self.model.base.sunk;
        self.account.queries = self.model.ran;
        Ok(self.account)
    }

    /// Plays these batches, one after the other, and nothing else.
    pub fn play_these(&mut self, batches: &[Vec<Message>]) -> Result<(), String> {
        let mut play = || -> Result<(), Mismatch> {
            let mut connection = self.connect()?;
            for messages in batches {
                let batch = Batch { messages: messages.clone(), pauses: Vec::new() };
                self.exchange(&mut connection, &batch, false)?;
            }
            self.check_silent(&mut connection)
        };
        play().map_err(|Mismatch(what)| what)
    }

    fn play_all(&mut self) -> Result<(), Mismatch> {
        let mut connection = self.connect()?;
        loop {
            let over = self.run.left.load(Ordering::Relaxed) == 0;
            if self.run.failed.load(Ordering::Relaxed) || (over && self.model.status == b'I') {
                return self.check_silent(&mut connection);
            }
            let ran = self.model.ran;
            if self.planner.dice.once_in(60) {
                self.cut(connection);
                connection = self.connect()?;
            } else {
                self.play(&mut connection)?;
            }
            let ran = self.model.ran - ran;
            let left = &self.run.left;
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                Some(n.saturating_sub(ran))
            })
            .ok();
        }
    }

    /// Nothing has come that was not asked for. What the client is told of its settings may come
    /// behind the answer to what has changed them, and before the next.
    fn check_silent(&mut self, connection: &mut Connection) -> Result<(), Mismatch> {
        let batch = Batch { messages: vec![Message::Sync], pauses: Vec::new() };
        self.exchange(connection, &batch, false)?;
        if connection.is_silent() {
            return Ok(());
        }
        Err(Mismatch("more than was asked for".to_owned()))
    }

    pub fn connect(&mut self) -> Result<Connection, Mismatch> {
        self.model.reconnected();
        let who = &self.model.who;
        let path = format!("-c search_path={}", who.schema);
        let mut settings = vec![
            ("user", "app"),
            ("database", "shop"),
            ("application_name", who.application.as_str()),
            ("TimeZone", who.zone.as_str()),
        ];
        settings.push(if self.index.is_multiple_of(2) {
            ("search_path", who.schema.as_str())
        } else {
            ("options", path.as_str())
        });
        let minor = if self.index.is_multiple_of(3) { 2 } else { 0 };
        let connection = Connection::open(self.run.port, minor, &settings)?;
        for (name, expected) in [("application_name", &who.application), ("TimeZone", &who.zone)] {
            let found = connection.reported.iter().find(|(reported, _)| reported == name);
            if found.is_none_or(|(_, value)| value != expected) {
                let text = format!("{name}: expected {expected}, found {found:?} at login");
                return Err(Mismatch(text));
            }
        }
        Ok(connection)
    }

    fn remember(&mut self, batch: &Batch, what: &str) {
        if self.history.len() == self.run.history {
            self.history.pop_front();
        }
        let status = char::from(self.model.status);
        let messages: Vec<String> = batch.messages.iter().map(shown).collect();
        self.history.push_back(format!(
            "-- {what} in {status} at {}, pauses {:?}\n{}",
            self.model.data.counter,
            batch.pauses,
            messages.join("\n")
        ));
    }

    /// Plays a batch to its end.
    fn play(&mut self, connection: &mut Connection) -> Result<(), Mismatch> {
        self.account.batches += 1;
        let cancelled = self.planner.dice.once_in(20);
        let fate = if cancelled { Fate::Cancelled } else { Fate::Calm };
        let batch = self.planner.batch(&self.model, fate);
        self.remember(&batch, if cancelled { "cancelled" } else { "played" });
        let slow = self.planner.dice.once_in(200);
        self.model.cancelled = cancelled;
        let played = thread::scope(|scope| {
            if cancelled {
                self.account.cancels += 1;
                let canceller = connection.canceller();
                let times = 1 + self.planner.dice.below(3);
                let wait = self.planner.dice.duration_below(Duration::from_millis(8));
                scope.spawn(move || {
                    for _ in 0..times {
                        thread::sleep(wait);
                        canceller.cancel();
                    }
                });
            }
            self.exchange(connection, &batch, slow)
            // No more is sent before all cancels have landed.
        });
        self.model.cancelled = false;
        played?;
        if !self.model.is_at_rest() {
            return Err(Mismatch("the batch has no end".to_owned()));
        }
        // Too late: whoever is hit by this is a stranger.
        if self.planner.dice.once_in(10) {
            self.account.cancels += 1;
            connection.canceller().cancel();
        }
        Ok(())
    }

    fn exchange(
        &mut self,
        connection: &mut Connection,
        batch: &Batch,
        slow: bool,
    ) -> Result<(), Mismatch> {
        let mut start = 0;
        for end in batch.pauses.iter().copied().chain([batch.messages.len()]) {
            let part = &batch.messages[start..end];
            let bytes: Vec<u8> = part.iter().flat_map(Message::bytes).collect();
            connection.send(&bytes)?;
            if slow {
                thread::sleep(Duration::from_millis(30));
            }
            for (index, message) in part.iter().enumerate() {
                self.model.answer(connection, message).map_err(|Mismatch(what)| {
                    let at = start + index;
                    Mismatch(format!("at message {at}, {}:\n{what}", shown(message)))
                })?;
            }
            start = end;
        }
        Ok(())
    }

    /// Sends a batch, or some of it, perhaps reads some of the replies, and is gone.
    fn cut(&mut self, mut connection: Connection) {
        self.account.cuts += 1;
        let batch = self.planner.batch(&self.model, Fate::Cut);
        self.remember(&batch, "cut");
        let mut bytes: Vec<u8> = batch.messages.iter().flat_map(Message::bytes).collect();
        let dice = &mut self.planner.dice;
        let sleeps = dice.once_in(4);
        if sleeps {
            // Somebody else would have to wait for this.
            bytes.extend(crate::wire::tagged(b'Q', &[b"select pg_sleep(30)\0"]));
        }
        if !dice.once_in(3) {
            let kept = dice.below(bytes.len().max(1) as u64);
            bytes.truncate(usize::try_from(kept).unwrap());
        }
        connection.send(&bytes).ok();
        if dice.once_in(2) {
            connection.swallow(usize::try_from(dice.below(300)).unwrap());
        }
        // One who says goodbye wants what was asked for to be done.
        if !sleeps && dice.once_in(8) {
            connection.send(&crate::wire::tagged(b'X', &[])).ok();
        }
        let how = match dice.below(3) {
            0 => Cut::Close,
            1 => Cut::Reset,
            _ => Cut::HalfClose,
        };
        connection.cut(how);
    }
}

fn shown(message: &Message) -> String {
    let mut text = match message {
        Message::Query(list) => {
            let texts: Vec<_> = list.iter().map(|(s, tag, n)| s.filled(tag, *n)).collect();
            format!("Query {:?}", texts.join("; "))
        }
        Message::Parse { name, statement } => format!("Parse {name:?} {:?}", statement.text),
        other => format!("{other:?}"),
    };
    if text.len() > 300 {
        text.truncate(300);
        text += " ...";
    }
    text
}

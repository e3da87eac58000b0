//! What Postgres answers to a client, message by message.
//!
//! The model follows one session: it is given each message that was sent, in order, and takes
//! from the connection exactly the replies that this message must have. Anything else is a
//! [`Mismatch`].

use std::collections::HashMap;
use std::rc::Rc;

use crate::statement::{Does, OWNED_ROWS, Statement};
use crate::wire::{Connection, Reply, tagged};

/// A message of a client.
#[derive(Clone, Debug)]
pub enum Message {
    /// Each statement with its tag and number.
    Query(Vec<(Rc<Statement>, String, u64)>),
    Parse {
        name: String,
        statement: Rc<Statement>,
    },
    Bind {
        portal: String,
        name: String,
        values: Option<(String, u64)>,
    },
    DescribeStatement(String),
    DescribePortal(String),
    Execute {
        portal: String,
        limit: u64,
    },
    CloseStatement(String),
    ClosePortal(String),
    Flush,
    Sync,
    /// `textcat(a, b)`.
    Call(String, String),
    CopyData(CopyLines),
    CopyDone,
    CopyFail,
}

/// Rows for the table `sink`.
#[derive(Clone, Debug)]
pub struct CopyLines {
    pub client: usize,
    pub rows: u64,
    /// The last line is none.
    pub broken: bool,
}

impl Message {
    pub fn bytes(&self) -> Vec<u8> {
        let target = |tag, kind: u8, name: &str| tagged(tag, &[&[kind], name.as_bytes(), b"\0"]);
        match self {
            Self::Query(list) => {
                let texts: Vec<_> = list.iter().map(|(s, tag, n)| s.filled(tag, *n)).collect();
                tagged(b'Q', &[texts.join("; ").as_bytes(), b"\0"])
            }
            Self::Parse { name, statement } => {
                let (name, text) = (name.as_bytes(), statement.text.as_bytes());
                tagged(b'P', &[name, b"\0", text, b"\0\0\0"])
            }
            Self::Bind { portal, name, values } => {
                let mut body = [portal.as_bytes(), b"\0", name.as_bytes(), b"\0\0\0"].concat();
                let values: Vec<String> =
                    values.iter().flat_map(|(tag, n)| [tag.clone(), n.to_string()]).collect();
                body.extend_from_slice(&u16::try_from(values.len()).unwrap().to_be_bytes());
                for value in values {
                    body.extend_from_slice(&u32::try_from(value.len()).unwrap().to_be_bytes());
                    body.extend_from_slice(value.as_bytes());
                }
                tagged(b'B', &[&body, b"\0\0"])
            }
            Self::DescribeStatement(name) => target(b'D', b'S', name),
            Self::DescribePortal(name) => target(b'D', b'P', name),
            Self::CloseStatement(name) => target(b'C', b'S', name),
            Self::ClosePortal(name) => target(b'C', b'P', name),
            Self::Execute { portal, limit } => {
                let limit = u32::try_from(*limit).unwrap().to_be_bytes();
                tagged(b'E', &[portal.as_bytes(), b"\0", &limit])
            }
            Self::Flush => tagged(b'H', &[]),
            Self::Sync => tagged(b'S', &[]),
            Self::Call(a, b) => {
                let len = |text: &str| u32::try_from(text.len()).unwrap().to_be_bytes();
                let mut body = TEXTCAT.to_be_bytes().to_vec();
                for part in [&b"\0\0\0\x02"[..], &len(a), a.as_bytes(), &len(b), b.as_bytes()] {
                    body.extend_from_slice(part);
                }
                tagged(b'F', &[&body, b"\0\0"])
            }
            Self::CopyData(lines) => {
                let mut text = format!("{}\tline\n", lines.client)
                    .repeat(usize::try_from(lines.rows).unwrap());
                if lines.broken {
                    text += "nobody\tline\n";
                }
                tagged(b'd', &[text.as_bytes()])
            }
            Self::CopyDone => tagged(b'c', &[]),
            Self::CopyFail => tagged(b'f', &[b"changed my mind\0"]),
        }
    }
}

const TEXTCAT: u32 = 1258;

/// A reply that can't be.
#[derive(Debug)]
pub struct Mismatch(pub String);

impl From<String> for Mismatch {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Whether a message did what it says; otherwise its error was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Went {
    Well,
    Wrong,
}

/// What a transaction changes, and a rollback brings back.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub counter: u64,
    pub sunk: u64,
    zone: Setting,
    tag: Setting,
    /// Its temporary table is there.
    temporary: bool,
    timed: bool,
}

/// A setting that the client has changed.
type Setting = Option<String>;

struct Portal {
    statement: Rc<Statement>,
    tag: String,
    number: u64,
    /// Rows that were sent already.
    sent: u64,
    over: bool,
}

/// Who the client is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub schema: String,
    pub zone: String,
    pub application: String,
}

/// See the module.
pub struct Model {
    pub who: Identity,
    /// `I`, `T` or `E`.
    pub status: u8,
    pub data: Data,
    /// What is committed.
    pub base: Data,
    savepoints: Vec<(u8, Data)>,
    pub named: HashMap<String, Rc<Statement>>,
    unnamed: Option<Rc<Statement>>,
    portals: HashMap<String, Portal>,
    skipping: bool,
    copy: Option<Copy>,
    /// A cancel is or was under way: any message may fail by it.
    pub cancelled: bool,
    /// Zones that the client has ever set.
    zones: Vec<String>,
    /// Statements that ran.
    pub ran: u64,
}

#[derive(Debug)]
struct Copy {
    simple: bool,
    rows: u64,
    broken: bool,
}

impl Model {
    pub fn new(who: Identity) -> Self {
        Self {
            who,
            status: b'I',
            data: Data::default(),
            base: Data::default(),
            savepoints: Vec::new(),
            named: HashMap::new(),
            unnamed: None,
            portals: HashMap::new(),
            skipping: false,
            copy: None,
            cancelled: false,
            zones: Vec::new(),
            ran: 0,
        }
    }

    /// A new session of the same client, after its last one was cut. Nothing that was under way
    /// then can have been committed.
    pub fn reconnected(&mut self) {
        let Data { counter, sunk, .. } = self.base;
        let base = Data { counter, sunk, ..Data::default() };
        let ran = self.ran;
        *self = Self { ran, base: base.clone(), data: base, ..Self::new(self.who.clone()) };
    }

    /// A portal that has more rows, if there is one.
    pub fn suspended(&self) -> Option<&str> {
        let mut names: Vec<_> =
            self.portals.iter().filter(|(_, p)| !p.over).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.first().copied().filter(|name| !name.is_empty())
    }

    /// Nothing is going on beside an open transaction.
    pub fn is_at_rest(&self) -> bool {
        !self.skipping && self.copy.is_none()
    }

    /// Takes the replies to this message.
    pub fn answer(
        &mut self,
        connection: &mut Connection,
        message: &Message,
    ) -> Result<(), Mismatch> {
        if self.copy.is_some() {
            return self.copying(connection, message);
        }
        if self.skipping && !matches!(message, Message::Sync) {
            return Ok(());
        }
        let went = match message {
            Message::Query(list) => return self.query(connection, list),
            Message::Call(a, b) => return self.call(connection, a, b),
            Message::Sync => return self.sync(connection),
            Message::Flush | Message::CopyData(_) | Message::CopyDone | Message::CopyFail => {
                return Ok(());
            }
            Message::Parse { name, statement } => self.parse(connection, name, statement)?,
            Message::Bind { portal, name, values } => {
                self.bind(connection, portal, name, values.as_ref())?
            }
            Message::DescribeStatement(name) => self.describe_statement(connection, name)?,
            Message::DescribePortal(name) => self.describe_portal(connection, name)?,
            Message::Execute { portal, limit } => self.execute(connection, portal, *limit)?,
            Message::CloseStatement(name) => {
                let went = self.expect(connection, b'3', "")?;
                if went == Went::Well {
                    self.forget(name);
                }
                went
            }
            Message::ClosePortal(name) => {
                let went = self.expect(connection, b'3', "")?;
                if went == Went::Well {
                    self.portals.remove(name);
                }
                went
            }
        };
        if went == Went::Wrong {
            self.failed();
            self.skipping = true;
        }
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    fn statement(&self, name: &str) -> Option<Rc<Statement>> {
        if name.is_empty() { self.unnamed.clone() } else { self.named.get(name).cloned() }
    }

    fn parse(
        &mut self,
        connection: &mut Connection,
        name: &str,
        statement: &Rc<Statement>,
    ) -> Result<Went, Mismatch> {
        let error = match statement.does {
            Does::BadSyntax => Some("42601"),
            Does::Empty => None,
            _ if self.status == b'E' && !statement.ends_transaction() => Some("25P02"),
            Does::NoTable => Some("42P01"),
            _ => None,
        };
        let taken = !name.is_empty() && self.named.contains_key(name);
        let error = error.or(taken.then_some("42P05"));
        let went = match error {
            Some(code) => self.expect_error(connection, &[code])?,
            None => self.expect(connection, b'1', "")?,
        };
        match (name, went) {
            ("", Went::Well) => self.unnamed = Some(Rc::clone(statement)),
            ("", Went::Wrong) => self.unnamed = None,
            (name, Went::Well) => drop(self.named.insert(name.to_owned(), Rc::clone(statement))),
            (_, Went::Wrong) => {}
        }
        Ok(went)
    }

    fn bind(
        &mut self,
        connection: &mut Connection,
        portal: &str,
        name: &str,
        values: Option<&(String, u64)>,
    ) -> Result<Went, Mismatch> {
        let Some(statement) = self.statement(name) else {
            return self.expect_error(connection, &["26000"]);
        };
        if statement.parameters != values.map_or(0, |_| 2) {
            // In a failed transaction either may be found first, where it is prepared again.
            let codes: &[&str] = if self.status == b'E' { &["08P01", "25P02"] } else { &["08P01"] };
            return self.expect_error(connection, codes);
        }
        if self.status == b'E' && !statement.ends_transaction() {
            return self.expect_error(connection, &["25P02"]);
        }
        if !portal.is_empty() && self.portals.contains_key(portal) {
            return self.expect_error(connection, &["42P03"]);
        }
        let went = self.expect(connection, b'2', "")?;
        if went == Went::Well {
            let (tag, number) = values.cloned().unwrap_or_default();
            let bound = Portal { statement, tag, number, sent: 0, over: false };
            self.portals.insert(portal.to_owned(), bound);
        }
        Ok(went)
    }

    fn describe_statement(
        &mut self,
        connection: &mut Connection,
        name: &str,
    ) -> Result<Went, Mismatch> {
        let Some(statement) = self.statement(name) else {
            return self.expect_error(connection, &["26000"]);
        };
        if self.status == b'E' && statement.columns > 0 {
            return self.expect_error(connection, &["25P02"]);
        }
        let parameters = u16::try_from(statement.parameters).unwrap().to_be_bytes();
        let Some(reply) = self.take(connection, b't')? else {
            return Ok(Went::Wrong);
        };
        if !reply.body.starts_with(&parameters) {
            return Err(self.wrong(&reply, "as many parameters as the statement has"));
        }
        self.describe_rows(connection, &statement)
    }

    fn describe_portal(
        &mut self,
        connection: &mut Connection,
        name: &str,
    ) -> Result<Went, Mismatch> {
        let Some(portal) = self.portals.get(name) else {
            let codes: &[&str] = if self.status == b'E' { &["34000", "25P02"] } else { &["34000"] };
            return self.expect_error(connection, codes);
        };
        let statement = Rc::clone(&portal.statement);
        self.describe_rows(connection, &statement)
    }

    fn describe_rows(
        &mut self,
        connection: &mut Connection,
        statement: &Statement,
    ) -> Result<Went, Mismatch> {
        if statement.columns == 0 {
            return self.expect(connection, b'n', "");
        }
        let Some(reply) = self.take(connection, b'T')? else {
            return Ok(Went::Wrong);
        };
        if reply.body.starts_with(&u16::try_from(statement.columns).unwrap().to_be_bytes()) {
            Ok(Went::Well)
        } else {
            Err(self.wrong(&reply, "as many columns as the statement has"))
        }
    }

    fn execute(
        &mut self,
        connection: &mut Connection,
        name: &str,
        limit: u64,
    ) -> Result<Went, Mismatch> {
        let Some(portal) = self.portals.get(name) else {
            let codes: &[&str] = if self.status == b'E' { &["34000", "25P02"] } else { &["34000"] };
            return self.expect_error(connection, codes);
        };
        if self.status == b'E' && !portal.statement.ends_transaction() {
            return self.expect_error(connection, &["25P02"]);
        }
        let (statement, tag, number) =
            (Rc::clone(&portal.statement), portal.tag.clone(), portal.number);
        let (sent, over) = (portal.sent, portal.over);
        let (went, sent, over) =
            self.run(connection, &statement, &tag, number, (sent, over, limit))?;
        if let Some(portal) = self.portals.get_mut(name) {
            (portal.sent, portal.over) = (sent, over);
        }
        if went == Went::Well && statement.does == Does::CopyIn {
            self.copy = Some(Copy { simple: false, rows: 0, broken: false });
        }
        Ok(went)
    }

    fn query(
        &mut self,
        connection: &mut Connection,
        list: &[(Rc<Statement>, String, u64)],
    ) -> Result<(), Mismatch> {
        self.unnamed = None;
        self.portals.remove("");
        let mut went = Went::Well;
        if list.iter().any(|(statement, ..)| statement.does == Does::BadSyntax) {
            went = self.expect_error(connection, &["42601"])?;
        } else {
            for (index, (statement, tag, number)) in list.iter().enumerate() {
                went = self.sub_query(connection, statement, tag, *number)?;
                if went == Went::Wrong {
                    break;
                }
                if statement.does == Does::CopyIn {
                    self.copy = Some(Copy { simple: true, rows: 0, broken: false });
                    return Ok(());
                }
                if index + 1 == list.len() && self.status == b'I' {
                    self.commit();
                }
            }
        }
        if went == Went::Wrong {
            self.failed();
        }
        self.ready(connection)
    }

    fn sub_query(
        &mut self,
        connection: &mut Connection,
        statement: &Rc<Statement>,
        tag: &str,
        number: u64,
    ) -> Result<Went, Mismatch> {
        if self.status == b'E' && !statement.ends_transaction() && statement.does != Does::Empty {
            return self.expect_error(connection, &["25P02"]);
        }
        if statement.does == Does::NoTable {
            return self.expect_error(connection, &["42P01"]);
        }
        if statement.does == Does::ProbeTemporary {
            return self.probe_temporary(connection);
        }
        if statement.columns > 0 {
            let went = self.describe_rows(connection, statement)?;
            if went == Went::Wrong {
                return Ok(went);
            }
        }
        Ok(self.run(connection, statement, tag, number, (0, false, 0))?.0)
    }

    fn call(&mut self, connection: &mut Connection, a: &str, b: &str) -> Result<(), Mismatch> {
        self.ran += 1;
        let went = if self.status == b'E' {
            self.expect_error(connection, &["25P02"])?
        } else {
            let both = format!("{a}{b}");
            let len = u32::try_from(both.len()).unwrap().to_be_bytes();
            match self.take(connection, b'V')? {
                None => Went::Wrong,
                Some(reply) if reply.body == [&len, both.as_bytes()].concat() => Went::Well,
                Some(reply) => return Err(self.wrong(&reply, &both)),
            }
        };
        match went {
            Went::Well if self.status == b'I' => self.commit(),
            Went::Well => {}
            Went::Wrong => self.failed(),
        }
        self.ready(connection)
    }

    fn sync(&mut self, connection: &mut Connection) -> Result<(), Mismatch> {
        if !self.skipping && self.status == b'I' {
            self.commit();
        }
        self.skipping = false;
        self.ready(connection)
    }

    fn ready(&mut self, connection: &mut Connection) -> Result<(), Mismatch> {
        // A cancel may come in the last moment.
        let mut reply = self.next(connection)?;
        if self.is_cancel(&reply) {
            self.failed();
            reply = self.next(connection)?;
        }
        if reply.tag != b'Z' || reply.body != [self.status] {
            let status = char::from(self.status);
            return Err(self.wrong(&reply, &format!("ReadyForQuery {status}")));
        }
        if self.status == b'I' {
            self.portals.clear();
        }
        Ok(())
    }

    fn copying(&mut self, connection: &mut Connection, message: &Message) -> Result<(), Mismatch> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        let simple = copy.simple;
        let went = match message {
            Message::CopyData(lines) => {
                copy.rows += lines.rows;
                copy.broken |= lines.broken;
                return Ok(());
            }
            Message::Flush | Message::Sync => return Ok(()),
            Message::CopyDone if copy.broken => self.expect_error(connection, &["22P02"])?,
            Message::CopyFail => self.expect_error(connection, &["57014"])?,
            Message::CopyDone => {
                let rows = copy.rows;
                let went = self.expect(connection, b'C', &format!("COPY {rows}"))?;
                self.data.sunk += if went == Went::Well { rows } else { 0 };
                went
            }
            other => panic!("{other:?} in a COPY"),
        };
        self.copy = None;
        if went == Went::Wrong {
            self.failed();
        }
        if simple {
            if self.status == b'I' {
                self.commit();
            }
            return self.ready(connection);
        }
        self.skipping = went == Went::Wrong;
        Ok(())
    }

    fn commit(&mut self) {
        self.data.timed = false;
        self.base = self.data.clone();
        self.savepoints.clear();
    }

    fn failed(&mut self) {
        self.portals.clear();
        if self.status == b'I' {
            self.data = self.base.clone();
        } else {
            self.status = b'E';
        }
    }

    /// Runs a statement. `(sent, over, limit)`: rows that were sent before, whether there are no
    /// more, and the limit. Gives the new ones.
    fn run(
        &mut self,
        connection: &mut Connection,
        statement: &Statement,
        tag: &str,
        number: u64,
        (mut sent, over, limit): (u64, bool, u64),
    ) -> Result<(Went, u64, bool), Mismatch> {
        self.ran += 1;
        let stay = |went| Ok((went, sent, over));
        if let Some(codes) = self.refusal(statement) {
            return stay(self.expect_error(connection, codes)?);
        }
        let (rows, fails_at) = match &statement.does {
            Does::Series { fails_at, .. } => (number, *fails_at),
            Does::Owned => (if self.is_client(number) { OWNED_ROWS } else { 0 }, 0),
            Does::CopyIn => return stay(self.expect(connection, b'G', "")?),
            Does::CopyOut { rows, fails_at, tag } => {
                return stay(self.copy_out(connection, *rows, *fails_at, tag)?);
            }
            Does::Empty => return stay(self.expect(connection, b'I', "")?),
            does if statement.columns == 0 => {
                let (does, done) = (does.clone(), self.completion(does));
                let went = self.expect(connection, b'C', done)?;
                if went == Went::Well {
                    self.apply(&does);
                }
                return stay(went);
            }
            _ => (1, 0),
        };
        let before = sent;
        while !over && sent < rows && (limit == 0 || sent - before < limit) {
            if sent + 1 == fails_at {
                return Ok((self.expect_error(connection, &["22012"])?, sent, over));
            }
            let Some(reply) = self.take(connection, b'D')? else {
                return Ok((Went::Wrong, sent, over));
            };
            self.check_row(&reply, statement, tag, number, sent + 1)?;
            sent += 1;
        }
        let count = sent - before;
        if limit > 0 && count == limit {
            return Ok((self.expect(connection, b's', "")?, sent, over));
        }
        let verb = if statement.does == Does::Bump { "UPDATE" } else { "SELECT" };
        let went = self.expect(connection, b'C', &format!("{verb} {count}"))?;
        if went == Went::Well {
            self.apply(&statement.does);
        }
        Ok((went, sent, true))
    }

    fn is_client(&self, number: u64) -> bool {
        number < crate::CLIENTS as u64
    }

    /// Why a statement fails before it does anything.
    fn refusal(&self, statement: &Statement) -> Option<&'static [&'static str]> {
        let in_block = self.status != b'I';
        let known = |name: &u8| self.savepoints.iter().any(|(other, _)| other == name);
        Some(match &statement.does {
            Does::Duplicate => &["23505"],
            Does::Savepoint(_) | Does::RollbackTo(_) | Does::Release(_) if !in_block => &["25P01"],
            Does::RollbackTo(name) | Does::Release(name) if !known(name) => &["3B001"],
            Does::DiscardAll if in_block => &["25001"],
            Does::Deallocate(name) if !self.named.contains_key(name) => &["26000"],
            Does::Sleep(milliseconds) if self.data.timed && *milliseconds >= 1000 => &["57014"],
            _ => return None,
        })
    }

    fn completion(&self, does: &Does) -> &'static str {
        match does {
            Does::Begin => "BEGIN",
            Does::Commit if self.status == b'E' => "ROLLBACK",
            Does::Commit => "COMMIT",
            Does::Rollback | Does::RollbackTo(_) => "ROLLBACK",
            Does::Savepoint(_) => "SAVEPOINT",
            Does::Release(_) => "RELEASE",
            Does::LimitTime | Does::SetZone(_) | Does::SetTag(_) => "SET",
            Does::DropTemporary => "DROP TABLE",
            Does::MakeTemporary => "SELECT 1",
            Does::Deallocate(_) => "DEALLOCATE",
            Does::DeallocateAll => "DEALLOCATE ALL",
            Does::DiscardAll => "DISCARD ALL",
            other => panic!("{other:?} ends otherwise"),
        }
    }

    fn apply(&mut self, does: &Does) {
        match does {
            Does::Bump => self.data.counter += 1,
            Does::Begin => self.status = b'T',
            Does::Commit => {
                if self.status == b'E' {
                    self.data = self.base.clone();
                }
                self.commit();
                self.status = b'I';
                self.portals.clear();
            }
            Does::Rollback => {
                self.data = self.base.clone();
                self.commit();
                self.status = b'I';
                self.portals.clear();
            }
            Does::Savepoint(name) => self.savepoints.push((*name, self.data.clone())),
            Does::RollbackTo(name) => {
                let place = self.savepoints.iter().rposition(|(other, _)| other == name);
                self.savepoints.truncate(place.unwrap() + 1);
                self.data = self.savepoints.last().unwrap().1.clone();
                self.status = b'T';
                self.portals.clear();
            }
            Does::Release(name) => {
                let place = self.savepoints.iter().rposition(|(other, _)| other == name);
                self.savepoints.truncate(place.unwrap());
            }
            Does::LimitTime => self.data.timed = self.status == b'T',
            Does::SetZone(zone) => {
                self.zones.push(zone.clone());
                self.data.zone = Some(zone.clone());
            }
            Does::SetTag(tag) => {
                self.data.tag = Some(tag.clone());
            }
            Does::MakeTemporary => self.data.temporary = true,
            Does::DropTemporary => self.data.temporary = false,
            Does::Deallocate(name) => drop(self.named.remove(name)),
            Does::DeallocateAll => self.named.clear(),
            Does::DiscardAll => {
                self.named.clear();
                self.unnamed = None;
                self.data =
                    Data { counter: self.data.counter, sunk: self.data.sunk, ..Data::default() };
            }
            _ => {}
        }
    }

    fn copy_out(
        &mut self,
        connection: &mut Connection,
        rows: u64,
        fails_at: u64,
        tag: &str,
    ) -> Result<Went, Mismatch> {
        if self.expect(connection, b'H', "")? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        for row in 1..=rows {
            if row == fails_at {
                return self.expect_error(connection, &["22012"]);
            }
            let Some(reply) = self.take(connection, b'd')? else {
                return Ok(Went::Wrong);
            };
            let line = format!("{tag}\t{row}\t{}\n", quotient(fails_at, row));
            if reply.body != line.as_bytes() {
                return Err(self.wrong(&reply, &line));
            }
        }
        if self.expect(connection, b'c', "")? == Went::Wrong {
            return Ok(Went::Wrong);
        }
        self.expect(connection, b'C', &format!("COPY {rows}"))
    }

    fn probe_temporary(&mut self, connection: &mut Connection) -> Result<Went, Mismatch> {
        self.ran += 1;
        let reply = self.next(connection)?;
        let made = self.data.temporary;
        match reply.tag {
            b'E' if reply.field(b'C') == "42P01" && !made => return Ok(Went::Wrong),
            b'E' if self.is_cancel(&reply) => return Ok(Went::Wrong),
            b'T' if made => {}
            _ => return Err(self.wrong(&reply, "its own temporary table, or none")),
        }
        let Some(row) = self.take(connection, b'D')? else {
            return Ok(Went::Wrong);
        };
        let own = self.who.application.clone();
        if row.columns() != [Some(own.as_bytes())] {
            return Err(self.wrong(&row, &own));
        }
        self.expect(connection, b'C', "SELECT 1")
    }

    fn check_row(
        &self,
        reply: &Reply,
        statement: &Statement,
        tag: &str,
        number: u64,
        row: u64,
    ) -> Result<(), Mismatch> {
        let found = reply.columns();
        let is = |column: usize, value: &str| {
            found.get(column).copied().flatten() == Some(value.as_bytes())
        };
        let number = number.to_string();
        let right = found.len() == statement.columns
            && is(0, tag)
            && match &statement.does {
                Does::Series { pad, fails_at } => {
                    is(1, &row.to_string())
                        && is(2, &"x".repeat(*pad))
                        && is(3, &quotient(*fails_at, row).to_string())
                }
                Does::Owned => is(1, &format!("owner-{number}")) && is(2, &row.to_string()),
                Does::Settings => is(1, &number) && self.are_own_settings(&found[2..]),
                Does::Bump => is(1, &number) && is(2, &(self.data.counter + 1).to_string()),
                _ => is(1, &number) && is(2, ""),
            };
        if right {
            return Ok(());
        }
        let Data { counter, zone, tag: set, .. } = &self.data;
        let expected = format!(
            "row {row} of {tag} {number} for {:?} (counter {counter}, zone {zone:?}, tag {set:?})",
            self.who
        );
        Err(self.wrong(reply, &expected))
    }

    fn are_own_settings(&self, found: &[Option<&[u8]>]) -> bool {
        let text = |column: usize| {
            std::str::from_utf8(found[column].unwrap_or_default()).unwrap().to_owned()
        };
        let is = |column: usize, setting: &Setting, unset: &str| {
            text(column) == setting.as_deref().unwrap_or(unset)
        };
        text(0) == self.who.schema
            && text(1) == self.who.schema
            && text(2) == self.who.application
            && is(3, &self.data.zone, &self.who.zone)
            && is(4, &self.data.tag, "")
    }

    /// The next reply to a request: what may come at any time is checked and left out.
    fn next(&mut self, connection: &mut Connection) -> Result<Reply, Mismatch> {
        loop {
            let reply = connection.receive()?;
            match reply.tag {
                b'N' if reply.field(b'S') != "FATAL" => {}
                b'S' => self.check_report(&reply)?,
                _ => return Ok(reply),
            }
        }
    }

    fn check_report(&self, reply: &Reply) -> Result<(), Mismatch> {
        let texts = reply.texts();
        let right = match texts[0] {
            // DISCARD ALL shows the server's own for a moment.
            "application_name" => ["", &self.who.application].contains(&texts[1]),
            "TimeZone" => {
                ["UTC", &self.who.zone].contains(&texts[1])
                    || self.zones.iter().any(|zone| zone == texts[1])
            }
            "search_path" => texts[1] == self.who.schema,
            _ => true,
        };
        if right { Ok(()) } else { Err(self.wrong(reply, "a report of the client's own")) }
    }

    fn is_cancel(&self, reply: &Reply) -> bool {
        (self.cancelled || self.data.timed)
            && reply.tag == b'E'
            && reply.field(b'C') == "57014"
            && reply.field(b'V') == "ERROR"
    }

    /// A reply of this type; `None` for the error of a cancel in its place.
    fn take(&mut self, connection: &mut Connection, tag: u8) -> Result<Option<Reply>, Mismatch> {
        let reply = self.next(connection)?;
        if reply.tag == tag {
            return Ok(Some(reply));
        }
        if self.is_cancel(&reply) {
            return Ok(None);
        }
        Err(self.wrong(&reply, &format!("message type {}", char::from(tag))))
    }

    /// A reply of this type that says `text`, where that is not empty.
    fn expect(
        &mut self,
        connection: &mut Connection,
        tag: u8,
        text: &str,
    ) -> Result<Went, Mismatch> {
        match self.take(connection, tag)? {
            None => Ok(Went::Wrong),
            Some(reply) if text.is_empty() || reply.texts() == [text] => Ok(Went::Well),
            Some(reply) => Err(self.wrong(&reply, text)),
        }
    }

    fn expect_error(
        &mut self,
        connection: &mut Connection,
        codes: &[&str],
    ) -> Result<Went, Mismatch> {
        let reply = self.next(connection)?;
        let right = reply.tag == b'E'
            && reply.field(b'V') == "ERROR"
            && (codes.contains(&reply.field(b'C')) || self.is_cancel(&reply));
        if right { Ok(Went::Wrong) } else { Err(self.wrong(&reply, &format!("error {codes:?}"))) }
    }

    fn wrong(&self, reply: &Reply, expected: &str) -> Mismatch {
        Mismatch(format!("received {}\nexpected {expected}", reply.shown()))
    }
}

fn quotient(fails_at: u64, row: u64) -> i64 {
    60 / (i64::try_from(fails_at).unwrap() - i64::try_from(row).unwrap())
}

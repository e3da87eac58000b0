//! From client to server: what each message does to ledger and names, and what goes out for it.
//!
//! All goes verbatim but the names of prepared statements. Statements that the server lacks are
//! prepared on it first, with replies that the client doesn't see; statements that it has are
//! not prepared again, with replies that we give ourselves.

mod again;
mod channels;
mod last_route;
mod lending;
mod long;
mod placing;
mod refusal;
mod sharding;
mod statements;
mod traces;

use std::sync::Arc;

use self::again::Telling;
use self::lending::{For, Lending};
pub(super) use self::refusal::REFUSED_CODE;
pub(super) use self::sharding::{AtShard, OF_SETTINGS, OfShard};
use self::statements::{Resolved, There};
use super::flow::{ClientFault, Flow, Frees, Refusal, Restore, Stop};
use super::gate;
use super::names::{Names, NamesUndo, Unnamed};
use super::pins::Pin;
use super::routing::{Place, Told};
use super::terms::Terms;
use crate::notify::Ear;
use crate::server::Server;
use crate::server::ledger::{Audience, Awaited, Local, Violation};
use crate::server::params::Params;
use crate::server::prepared::{By, NAME_PREFIX, Statement, StatementTable};
use crate::server::schema::Schema;
use crate::sql::{self, Command, Effects, Leaves};
use crate::wire::frame::{self, HEADER_LEN, Header};
use crate::wire::request;
use crate::wire::splice::Splice;
use crate::wire::view;

/// Takes messages of one client for one server.
pub(super) struct Outgoing<'a, 'b> {
    /// The server that is attached.
    pub server: &'a mut Server,
    /// The client's prepared statements.
    pub names: &'a mut Names,
    /// How to undo what is done to them.
    pub undo: &'a mut NamesUndo,
    /// Where the reading stands.
    pub flow: &'a mut Flow,
    /// The settings that the client brought.
    pub startup: &'a Params,
    /// Who hears for the client.
    pub ear: Option<&'a Ear>,
    /// What the session goes by.
    pub terms: &'a Terms,
    /// All prepared statements.
    pub statements: &'a StatementTable,
    /// What is known of the database's schema.
    pub schema: &'a Schema,
    /// What decides whether a request may go to this server; `None` = any may.
    pub place: Option<Place<'a>>,
    /// Where the last request ran.
    pub route: Told<'a>,
    /// The shard that this server is of, where there are several.
    pub shard: Option<AtShard<'a>>,
    /// What goes to the server.
    pub out: &'a mut Splice<'b>,
}

/// Replies owed by a server above which no more of its client's messages are taken until all
/// have come.
const OWED_MAX: usize = 16 * 1024;
/// How much of a Parse may be its name.
const PARSE_NAME_MAX: usize = 64 * 1024;
/// How much of a Bind may be its two names.
const BIND_NAMES_MAX: usize = 64 * 1024;
/// The longest Describe or Close that is believed.
const TARGET_MAX: usize = 64 * 1024;

impl Outgoing<'_, '_> {
    /// Takes as many of these bytes as can be taken, and gives their number: fewer than all when
    /// the last message has to be seen whole and is not, or when the flow has stopped.
    ///
    /// # Errors
    /// The session has to end then, and the server to be closed.
    pub(super) fn run(&mut self, bytes: &[u8]) -> Result<usize, ClientFault> {
        let mut position = 0;
        self.flow.shard.judged = 0;
        let waits = self.flow.restore.is_some() || !self.flow.redo.is_empty();
        if waits && self.flow.stop.is_none() {
            self.restore_behind()?;
        }
        if self.ear.is_some() && self.flow.stop.is_none() && !bytes.is_empty() {
            self.bring_channels()?;
        }
        loop {
            if self.flow.pass > 0 {
                let count = self.flow.pass.min(bytes.len() - position);
                self.out.forward(position..position + count);
                self.flow.pass -= count;
                position += count;
                if self.flow.pass > 0 {
                    return Ok(position);
                }
            }
            if self.flow.stop.is_none() && self.owes_much() {
                self.flow.stop = Some(Stop::Replies);
            }
            if self.flow.stop.is_some() {
                return Ok(position);
            }
            let rest = bytes.get(position..).unwrap_or_default();
            let Some(header) = frame::header(rest, self.terms.message_max)? else {
                return Ok(position);
            };
            let taken = self.message(header, rest)?;
            if !matches!(taken, Taken::Not) {
                let Flow { placed, shard, .. } = &mut *self.flow;
                placed.judged = placed.judged.saturating_sub(header.message_len());
                shard.judged = shard.judged.saturating_sub(header.message_len());
                shard.ahead = None;
            }
            match taken {
                Taken::Whole => position += header.message_len(),
                // What is left of it, or all, goes verbatim as it comes.
                Taken::Start(count) => {
                    position += count;
                    self.flow.pass = header.message_len() - count;
                }
                Taken::Not => return Ok(position),
            }
        }
    }

    fn message(&mut self, header: Header, rest: &[u8]) -> Result<Taken, ClientFault> {
        let body = rest.get(HEADER_LEN..header.message_len());
        // The server reads nothing but Sync now.
        if self.server.ledger.is_skipping() && !matches!(header.tag, b'S' | b'X') {
            return Ok(Taken::Start(0));
        }
        if self.is_unsettled() {
            self.flow.stop = Some(Stop::Settling);
            return Ok(Taken::Not);
        }
        if self.shard.is_some()
            && let Some(taken) = self.on_shard(header, rest)?
        {
            return Ok(taken);
        }
        if self.place.is_some() && !self.may_follow(rest)? {
            return Ok(Taken::Not);
        }
        if self.terms.read_only {
            gate::check_reading(header, body, self.terms.statement_max)?;
        }
        match (header.tag, body) {
            (b'Q', Some(body)) => self.query(body),
            (b'P', Some(body)) => self.parse(header, body),
            (b'Q', None) if header.body_len > self.terms.statement_max => self.long_query(),
            (b'P', None) if header.body_len > self.terms.statement_max => {
                self.long_parse(header, rest)
            }
            (b'B', _) => self.bind(header, rest),
            (b'D', Some(body)) => self.describe(body, rest),
            (b'C', Some(body)) => self.close(body),
            (b'D' | b'C', None) if header.body_len > TARGET_MAX => {
                Err(ClientFault::Unknown(header.tag))
            }
            (b'Q' | b'P' | b'D' | b'C', None) => Ok(Taken::Not),
            (b'E', _) => self.execute(),
            (b'S', _) => {
                self.flow.parsed = None;
                self.restore_before_sync()?;
                let sent = self.sent(Awaited::Sync)?;
                self.flow.batch = sent.or(self.flow.batch);
                sent.inspect(|sequence| self.note_request(*sequence));
                Ok(Taken::Start(0))
            }
            (b'F', _) => {
                self.close_foreign()?;
                // Any function may be called; what it leaves behind can't be seen.
                self.note(Leaves::UNSEEN, &[]);
                let sent = self.sent(Awaited::FunctionCall)?;
                sent.inspect(|sequence| self.note_request(*sequence));
                Ok(Taken::Start(0))
            }
            (b'c' | b'f', _) => self.verbatim(Awaited::CopyEnd),
            (b'd' | b'H', _) => Ok(Taken::Start(0)),
            (b'X', _) => {
                self.flow.stop = Some(Stop::Goodbye);
                Ok(Taken::Not)
            }
            (other, _) => Err(ClientFault::Unknown(other)),
        }
    }

    /// A COPY has to go on: its end is among what is not taken yet.
    fn owes_much(&self) -> bool {
        self.server.ledger.len() >= OWED_MAX && !self.server.ledger.is_copying_in()
    }

    fn sent(&mut self, awaited: Awaited) -> Result<Option<u64>, Violation> {
        self.server.ledger.sent(awaited, Audience::Client)
    }

    fn sent_own(&mut self, awaited: Awaited) -> Result<Option<u64>, Violation> {
        self.server.ledger.sent(awaited, Audience::Pooler)
    }

    fn verbatim(&mut self, awaited: Awaited) -> Result<Taken, ClientFault> {
        self.sent(awaited)?;
        Ok(Taken::Start(0))
    }

    /// A reply of ours in the place of the server's.
    fn reply(&mut self, local: Local) -> Result<Option<u64>, ClientFault> {
        Ok(self.sent(Awaited::Local(local))?)
    }

    fn query(&mut self, body: &[u8]) -> Result<Taken, ClientFault> {
        let text = view::query_text(body);
        if let Some(why) = text.and_then(|text| self.refuses_on_replica(text, Leaves::NOTHING)) {
            return self.refuse_query(why);
        }
        let effects = text.map_or(Effects::WORST, |text| self.effects_of_next(text));
        self.flow.may_define(&effects);
        if effects.leaves.is_empty() && !effects.asks_route {
            self.begin_query()?;
            return Ok(Taken::Start(0));
        }
        let effects = self.with_executed(&effects).unwrap_or(effects);
        if let Some(why) = self.refuses_text(text.unwrap_or_default(), &effects) {
            return self.refuse_query(why);
        }
        if self.has_to_hear(&effects.channels) {
            return Ok(Taken::Not);
        }
        let command = text.and_then(sql::command);
        if let Some(Command::Deallocate(name)) = &command {
            if self.has_to_wait_for(name) {
                return Ok(Taken::Not);
            }
            if self.names.get(name).is_some() && !self.doubts_statements() {
                return self.deallocate(name);
            }
        }
        if self.lend(&effects, For::Query)? == Lending::Later {
            return Ok(Taken::Not);
        }
        let prepare = match effects.leaves == Leaves::PREPARED {
            true => text.and_then(sql::prepare),
            false => None,
        };
        let prepare = prepare.filter(|prepare| !prepare.name.starts_with(NAME_PREFIX));
        if prepare.is_none() {
            self.suspect(effects.leaves, text.unwrap_or_default());
            self.note(effects.leaves, &effects.settings);
        }
        if let (Some(text), Some(command)) = (text, &command)
            && self.reset_and_restore(text, command, &effects.resets)?
        {
            return Ok(Taken::Whole);
        }
        let Some(sequence) = self.begin_query()? else {
            return Ok(Taken::Start(0));
        };
        if self.note_resets(&effects.resets, Restore::Behind(sequence)) {
            self.flow.stop = Some(Stop::Replies);
        }
        if let Some(prepare) = prepare {
            self.prepare_by_sql(sequence, &prepare);
        }
        match command {
            Some(Command::Deallocate(name)) => self.free(sequence, Frees::One(name.into())),
            _ if effects.mentions.is_some_and(|it| it.frees_all) => self.free(sequence, Frees::All),
            _ => {}
        }
        Ok(Taken::Start(0))
    }

    /// `DEALLOCATE` of one of the client's names. An implicit transaction ends with it, as with
    /// any Query; the server has to hear of that.
    fn deallocate(&mut self, name: &[u8]) -> Result<Taken, ClientFault> {
        if self.server.ledger.is_open() {
            self.sent_own(Awaited::Query)?;
            self.out.insert(|out| request::query(out, b""));
        }
        if let Some(sequence) = self.reply(Local::Deallocated)? {
            self.names.drop_unnamed_first(self.undo, sequence);
            self.names.close(self.undo, sequence, name);
            self.flow.batch = Some(sequence);
            self.flow.requests.skip();
        }
        Ok(Taken::Whole)
    }

    fn begin_query(&mut self) -> Result<Option<u64>, ClientFault> {
        let sent = self.sent(Awaited::Query)?;
        if let Some(sequence) = sent {
            self.names.drop_unnamed_first(self.undo, sequence);
            self.flow.batch = Some(sequence);
            self.flow.parsed = None;
            self.note_request(sequence);
        }
        Ok(sent)
    }

    fn parse(&mut self, header: Header, body: &[u8]) -> Result<Taken, ClientFault> {
        let Some(parse) = view::Parse::read(body) else {
            // The server will refuse it; should it not, nobody else may get that server.
            self.server.give_up();
            return self.verbatim(Awaited::Parse);
        };
        if parse.name.is_empty() {
            let effects = self.effects_of_next(parse.text);
            self.flow.may_define(&effects);
            if let Some(why) = self.refuses(parse.text, effects.leaves) {
                return self.refuse_parse(why, parse.name);
            }
            if self.has_to_wait() || self.has_to_hear(&effects.channels) {
                return Ok(Taken::Not);
            }
            if effects.leaves.is_empty() && !effects.asks_route {
                self.unnamed_is_clean();
            } else {
                if self.lend(&effects, For::Request)? == Lending::Later {
                    return Ok(Taken::Not);
                }
                let all = self.with_executed(&effects).unwrap_or(effects);
                self.suspect(all.leaves, parse.text);
                self.note(all.leaves, &all.settings);
                self.note_unnamed(all);
            }
            if let Some(sequence) = self.sent(Awaited::Parse)? {
                self.names.drop_unnamed_first(self.undo, sequence);
                self.names.set_unnamed(self.undo, sequence, Unnamed::Here(parse.identity.into()));
            }
            return Ok(Taken::Start(0));
        }
        if self.has_to_wait_for(parse.name) {
            return Ok(Taken::Not);
        }
        if let Some(statement) = self.names.get(parse.name).map(Arc::clone) {
            // It may turn out to be free.
            if self.flow.asked.is_some() && self.server.lent.get(parse.name).is_some() {
                self.flow.stop = Some(Stop::Replies);
                return Ok(Taken::Not);
            }
            return self.parse_again(header, parse.name, &statement);
        }
        if body.len() > self.terms.followed_max() {
            // Known to this server alone, under the client's own name.
            if body.len() > self.terms.statement_max {
                self.flow.pins.add(Pin::LargeStatement);
            }
            // It stays there under the client's own name.
            self.close_foreign()?;
            if sql::effects(parse.text).asks_route {
                self.tell_route(For::Request)?;
            }
            self.server.taint();
            return self.verbatim(Awaited::Parse);
        }
        let (lookup, version) = (self.server.applied().lookup(), self.schema.version());
        let effects = || sql::effects(parse.text);
        let statement = self.statements.share(parse.identity, lookup, version, effects);
        let statement = self.as_it_is_now(statement, Telling::Nothing);
        if let Some(why) = self.refuses_named(parse.name, &statement) {
            return self.refuse_parse(why, parse.name);
        }
        self.may_run(&statement);
        let Some(there) = self.is_there(&statement)? else {
            return Ok(Taken::Not);
        };
        let sent = match there {
            There::Yes if self.may_be_refused() => self.parse_to_ask(parse.identity)?,
            There::Yes => self.reply(Local::ParseComplete)?,
            There::No => self.prepare(&statement, Audience::Client, Some(parse.name))?,
        };
        if let Some(sequence) = sent {
            self.names.prepare(self.undo, sequence, parse.name, statement);
            self.flow.parsed = Some(parse.name.into());
        }
        Ok(Taken::Whole)
    }

    /// The client prepares a name that it has already. The server has to say so itself, as its
    /// transaction fails with it, and as it may find something else wrong first. It does so of
    /// our name for the statement, so that no name of a client's stays on it.
    fn parse_again(
        &mut self,
        header: Header,
        name: &[u8],
        statement: &Arc<Statement>,
    ) -> Result<Taken, ClientFault> {
        self.flow.twice = Some(name.into());
        if statement.by == By::Sql {
            let wanted = vec![(name.into(), Arc::clone(statement))];
            return match self.lend_these(wanted, For::Request)? {
                Lending::Later => Ok(Taken::Not),
                Lending::Done => self.verbatim(Awaited::Parse),
            };
        }
        self.may_run(statement);
        match self.is_there(statement)? {
            None => return Ok(Taken::Not),
            Some(There::Yes) => {}
            Some(There::No) => drop(self.prepare(statement, Audience::Pooler, None)?),
        }
        self.sent(Awaited::Parse)?;
        let taken = self.server.prepared.name(statement.id);
        self.out.insert(|out| {
            request::parse_start(out, header.body_len, name, taken.as_bytes());
        });
        Ok(Taken::Start(HEADER_LEN + name.len() + 1))
    }

    fn bind(&mut self, header: Header, rest: &[u8]) -> Result<Taken, ClientFault> {
        let start = rest.get(HEADER_LEN..rest.len().min(header.message_len())).unwrap_or_default();
        let Some(bind) = view::Bind::read(start) else {
            if start.len() < header.body_len && start.len() < BIND_NAMES_MAX {
                return Ok(Taken::Not);
            }
            self.server.give_up();
            return self.verbatim(Awaited::Bind);
        };
        let own = self.names.get(bind.statement).map(Arc::clone);
        let told = |own: &Arc<Statement>| self.told_by(&bind, header, rest, own);
        let telling = own.as_ref().map_or(Telling::Nothing, told);
        if let Some(own) = &own
            && let Some(why) = self.refuses(own.text(), own.effects.leaves)
        {
            return self.refuse_bind(why, &bind, header);
        }
        let (first, frees) = (self.first(), self.frees(own.as_deref()));
        let resolved = self.resolve(bind.statement, own, telling)?;
        self.flow.frees = frees;
        if !matches!(resolved, Resolved::Later) {
            self.names.get(bind.statement).inspect(|own| own.bound());
        }
        match resolved {
            Resolved::Later => Ok(Taken::Not),
            Resolved::Same => self.verbatim(Awaited::Bind),
            Resolved::Refused => self.refuse_bind(Refusal::OtherColumns, &bind, header),
            Resolved::As(name) => {
                let sent = self.sent(Awaited::Bind)?;
                if sent == first && telling == Telling::Anew {
                    self.keep_to_run_again(sent, rest);
                }
                self.out.insert(|out| {
                    request::bind_start(out, &bind, header.body_len, name.as_bytes())
                });
                Ok(Taken::Start(HEADER_LEN + bind.names_len))
            }
        }
    }

    fn execute(&mut self) -> Result<Taken, ClientFault> {
        let sent = self.sent(Awaited::Execute)?;
        if let (Some(sequence), Some(frees)) = (sent, self.flow.frees.take()) {
            self.free(sequence, frees);
        }
        Ok(Taken::Start(0))
    }

    fn describe(&mut self, body: &[u8], rest: &[u8]) -> Result<Taken, ClientFault> {
        let name = match view::Target::read(body) {
            Some(view::Target::Statement(name)) => name,
            Some(view::Target::Portal(_)) | None => return self.verbatim(Awaited::Describe),
        };
        let own = self.names.get(name).map(Arc::clone);
        let first = self.first();
        match self.resolve(name, own, Telling::Anew)? {
            Resolved::Later => Ok(Taken::Not),
            // What is described is told anew.
            Resolved::Same | Resolved::Refused => self.verbatim(Awaited::Describe),
            Resolved::As(name) => {
                let sent = self.sent(Awaited::Describe)?;
                if sent == first {
                    self.keep_to_run_again(sent, rest);
                }
                self.out.insert(|out| request::describe_statement(out, name.as_bytes()));
                Ok(Taken::Whole)
            }
        }
    }
}

/// How much of a message was taken.
enum Taken {
    /// All; what goes out for it is ours, or nothing.
    Whole,
    /// The first bytes; the others go verbatim.
    Start(usize),
    /// Nothing yet.
    Not,
}

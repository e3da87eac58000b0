//! A client of the console: simple and extended queries, answered one after the other.
//!
//! Knows messages and plans. What it holds for a client is bounded: one message, one reply, and
//! a few prepared statements.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::timeout;

use super::commands::{Answer, Row};
use super::consoles::Present;
use super::order::{Operator, Order, SteerError};
use super::plan::{self, Plan, SETTINGS, Stage};
use super::registry::Registry;
use super::{PGBOUNCER_VERSION, Role};
use crate::net::socket::Socket;
use crate::wire::frame::{self, FrameError};
use crate::wire::reply::{self, Format, Report, Severity, Value};
use crate::wire::view::{self, Bind, Fields, Parse, Target};

/// The longest message that it takes, its length word included.
const MESSAGE_MAX: u32 = 64 * 1024;
/// Prepared statements, and portals, that a client may have.
const NAMES_MAX: usize = 100;
/// How long a client may take to accept an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Bytes read at once.
const CHUNK: usize = 4096;

/// Why a console ended.
#[derive(Debug, Error)]
pub enum ConsoleEnd {
    /// The client said goodbye.
    #[error("client close request")]
    Goodbye,
    /// The client's connection was closed or failed.
    #[error("client unexpected eof")]
    Gone(#[from] io::Error),
    /// The client sent what is no message, or one that is too long.
    #[error("client protocol violation: {0}")]
    Frame(#[from] FrameError),
    /// The client did not take its answer.
    #[error("client did not take its answer")]
    Stuck,
}

/// A console that is open.
pub struct Console {
    socket: Socket,
    /// What the client has sent and we have not looked at.
    sent: Vec<u8>,
    role: Role,
    operator: Operator,
    registry: Arc<dyn Registry>,
    present: Present,
    statements: HashMap<Vec<u8>, Option<Plan>>,
    portals: HashMap<Vec<u8>, Portal>,
    /// Of the client's transaction, which is one in name.
    stage: Stage,
    /// An extended query failed: nothing counts up to the next Sync.
    failed: bool,
}

/// A statement that is ready to run; `None` is an empty one.
#[derive(Clone)]
struct Portal {
    plan: Option<Plan>,
    formats: Vec<Format>,
}

/// Whether the client was answered, or is told this; or that it is gone.
type Answered = Result<Result<(), Report>, ConsoleEnd>;

/// One format is for all columns, none is text.
fn format_of(formats: &[Format], column: usize) -> Format {
    let index = if formats.len() == 1 { 0 } else { column };
    formats.get(index).copied().unwrap_or_default()
}

impl Console {
    /// A console for somebody who has logged in. `greeting` has not been sent yet, and `ahead`
    /// was sent behind the login.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn open(
        socket: Socket,
        ahead: Vec<u8>,
        mut greeting: Vec<u8>,
        (role, operator): (Role, Operator),
        registry: Arc<dyn Registry>,
    ) -> io::Result<Self> {
        let version = format!("{PGBOUNCER_VERSION}/bouncer");
        reply::parameter_status(&mut greeting, b"server_version", version.as_bytes());
        for (name, _, value) in SETTINGS {
            reply::parameter_status(&mut greeting, name.as_bytes(), value.as_bytes());
        }
        // Nothing can be cancelled here: nobody has this number.
        reply::backend_key(&mut greeting, 0, &[0; 4]);
        greeting.extend_from_slice(&reply::ready(b'I'));
        let (statements, portals) = (HashMap::new(), HashMap::new());
        let (stage, failed, present) = (Stage::Ends, false, Present::new(registry.consoles()));
        let mut console = Self {
            socket,
            sent: ahead,
            role,
            operator,
            registry,
            present,
            statements,
            portals,
            stage,
            failed,
        };
        console.socket.write_all(&greeting).await?;
        Ok(console)
    }

    /// Serves the client to its end, on whichever loop polls this, and gives the reason for that.
    pub async fn run(mut self) -> ConsoleEnd {
        match self.socket.rehome() {
            Ok(socket) => self.socket = socket,
            Err(error) => return error.into(),
        }
        loop {
            let mut out = Vec::new();
            let judged = self.judge(&mut out).await;
            if let Err(ConsoleEnd::Frame(error)) = &judged {
                let message = error.to_string();
                Report { severity: Severity::Fatal, ..plan::error("08P01", message) }
                    .write(&mut out);
            }
            if let Err(end) = self.answer(&out).await {
                return end;
            }
            let next = match judged {
                Ok(true) => Ok(()),
                Ok(false) => self.read().await,
                Err(end) => Err(end),
            };
            if let Err(end) = next {
                self.socket.farewell();
                return end;
            }
        }
    }

    async fn answer(&mut self, out: &[u8]) -> Result<(), ConsoleEnd> {
        let written = timeout(ANSWER_LIMIT, self.socket.write_all(out)).await;
        Ok(written.map_err(|_elapsed| ConsoleEnd::Stuck)??)
    }

    async fn read(&mut self) -> Result<(), ConsoleEnd> {
        let mut chunk = vec![0; CHUNK];
        let count = self.socket.read(&mut chunk).await?;
        if count == 0 {
            return Err(ConsoleEnd::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        self.sent.extend_from_slice(chunk.get(..count).unwrap_or_default());
        Ok(())
    }

    /// Answers the first message if it is complete; `false` when it is not. One at a time, so that
    /// a client which sends many does not make us hold the answers to all of them.
    async fn judge(&mut self, out: &mut Vec<u8>) -> Result<bool, ConsoleEnd> {
        let mut sent = std::mem::take(&mut self.sent);
        let Some((header, body)) = frame::message(&sent, MESSAGE_MAX)? else {
            self.sent = sent;
            return Ok(false);
        };
        self.message(header.tag, body, out).await?;
        sent.drain(..header.message_len());
        // What has come while an order was being carried out.
        sent.append(&mut self.sent);
        self.sent = sent;
        Ok(true)
    }

    async fn message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), ConsoleEnd> {
        match tag {
            b'X' => return Err(ConsoleEnd::Goodbye),
            b'S' => {
                self.failed = false;
                self.present.answered();
                out.extend_from_slice(&self.ready());
            }
            _ if self.failed => {}
            b'Q' => {
                if let Err(report) = self.query(body, out).await? {
                    report.write(out);
                }
                self.present.answered();
                out.extend_from_slice(&self.ready());
            }
            _ => {
                if let Err(report) = self.extended(tag, body, out).await? {
                    report.write(out);
                    self.failed = true;
                }
            }
        }
        Ok(())
    }

    /// Drivers go by this: what was begun is open until it ends.
    fn ready(&self) -> [u8; 6] {
        reply::ready(if self.stage == Stage::Begins { b'T' } else { b'I' })
    }

    async fn query(&mut self, body: &[u8], out: &mut Vec<u8>) -> Answered {
        let plans = view::query_text(body).ok_or_else(malformed);
        let plans = match plans.and_then(|text| plan::plans(text, self.role)) {
            Ok(plans) => plans,
            Err(report) => return Ok(Err(report)),
        };
        if plans.is_empty() {
            out.extend_from_slice(&reply::EMPTY_QUERY);
        }
        for plan in plans {
            describe(plan.columns(), |_| Format::Text, out);
            if let Err(report) = self.run_plan(plan, |_| Format::Text, out).await? {
                return Ok(Err(report));
            }
        }
        Ok(Ok(()))
    }

    async fn run_plan(
        &mut self,
        plan: Plan,
        format: impl Fn(usize) -> Format,
        out: &mut Vec<u8>,
    ) -> Answered {
        let tag = plan.tag();
        let rows = match plan {
            Plan::Nothing(_) | Plan::NoRows => vec![],
            Plan::Noted(text) => notices([text], out),
            Plan::Transaction(stage, _) => {
                self.stage = stage;
                vec![]
            }
            Plan::Forget(name, _) => {
                match name {
                    Some(name) => drop(self.statements.remove(&name)),
                    None => self.statements.clear(),
                }
                vec![]
            }
            Plan::Setting(_, value) => vec![vec![Value::Text(value.to_owned())]],
            Plan::Run(command) => match &command.answer {
                Answer::Table(_, rows) => rows(&*self.registry),
                Answer::Notice(text) => notices([text()], out),
                Answer::Later(_, rows) => self.wait_for(rows(Arc::clone(&self.registry))).await?,
                Answer::Act(_) | Answer::Explain(_) | Answer::About(..) => vec![],
            },
            Plan::About(command, what) => match &command.answer {
                Answer::About(_, _, rows) => rows(&*self.registry, &what),
                _ => vec![],
            },
            Plan::Explain(_, database, text) => {
                if let Some(report) = plan::without_database(&self.registry.config(), &database) {
                    return Ok(Err(report));
                }
                let explaining = Arc::clone(&self.registry).explain(database.clone(), text);
                match self.wait_for(explaining).await? {
                    Some(lines) => lines.into_iter().map(line).collect(),
                    None => {
                        let error = SteerError::NoDatabase(database);
                        return Ok(Err(plan::error("3D000", error.to_string())));
                    }
                }
            }
            Plan::Act(order) => match self.carry_out(order).await? {
                Ok(texts) => notices(texts, out),
                Err(report) => return Ok(Err(report)),
            },
        };
        for row in rows {
            reply::data_row(out, &row, &format);
        }
        reply::command_complete(out, tag);
        Ok(Ok(()))
    }

    /// Waits for what is being done; an operator who goes meanwhile waits no longer.
    async fn wait_for<T>(
        &mut self,
        mut done: Pin<Box<dyn Future<Output = T> + Send>>,
    ) -> Result<T, ConsoleEnd> {
        loop {
            let room = self.sent.len() < MESSAGE_MAX as usize;
            tokio::select! {
                outcome = &mut done => return Ok(outcome),
                read = self.read(), if room => read?,
            }
        }
    }

    /// Has an order carried out.
    async fn carry_out(&mut self, order: Order) -> Result<Result<Vec<String>, Report>, ConsoleEnd> {
        let outcome =
            self.wait_for(Arc::clone(&self.registry).steer(order, &self.operator)).await?;
        Ok(outcome.map_err(|error| {
            let detail = error.detail();
            Report { detail, ..plan::error(error.sqlstate(), error.to_string()) }
        }))
    }

    async fn extended(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Answered {
        if tag != b'E' {
            return Ok(self.prepare(tag, body, out));
        }
        let name = Fields::new(body).cstr().ok_or_else(malformed);
        let portal = name.and_then(|name| self.portals.get(name).cloned().ok_or_else(no_portal));
        match portal {
            Err(report) => Ok(Err(report)),
            Ok(Portal { plan: None, .. }) => {
                out.extend_from_slice(&reply::EMPTY_QUERY);
                Ok(Ok(()))
            }
            Ok(Portal { plan: Some(plan), formats }) => {
                self.run_plan(plan, |column| format_of(&formats, column), out).await
            }
        }
    }

    fn prepare(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Report> {
        match tag {
            b'P' => self.parse(&Parse::read(body).ok_or_else(malformed)?, out),
            b'B' => self.bind(body, out),
            b'D' => self.describe(Target::read(body).ok_or_else(malformed)?, out),
            b'C' => {
                match Target::read(body).ok_or_else(malformed)? {
                    Target::Statement(name) => drop(self.statements.remove(name)),
                    Target::Portal(name) => drop(self.portals.remove(name)),
                }
                out.extend_from_slice(&reply::CLOSE_COMPLETE);
                Ok(())
            }
            b'H' => Ok(()),
            _ => {
                Err(plan::error("0A000", format!("message type {tag:#04x} is not for the console")))
            }
        }
    }

    fn parse(&mut self, parse: &Parse<'_>, out: &mut Vec<u8>) -> Result<(), Report> {
        let plans = plan::plans(parse.text, self.role)?;
        let plan = match plans.as_slice() {
            [] => None,
            [plan] => Some(plan.clone()),
            _ => {
                let text = "cannot insert multiple commands into a prepared statement";
                return Err(plan::error("42601", text));
            }
        };
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            let name = String::from_utf8_lossy(parse.name);
            return Err(plan::error(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        keep(&mut self.statements, parse.name, plan)?;
        out.extend_from_slice(&reply::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Report> {
        let Bind { portal, statement, names_len } = Bind::read(body).ok_or_else(malformed)?;
        let formats = formats(body.get(names_len..).unwrap_or_default())?;
        let plan = self.statements.get(statement).ok_or_else(|| no_statement(statement))?.clone();
        keep(&mut self.portals, portal, Portal { plan, formats })?;
        out.extend_from_slice(&reply::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&self, target: Target<'_>, out: &mut Vec<u8>) -> Result<(), Report> {
        let portal = match target {
            Target::Statement(name) => {
                let plan = self.statements.get(name).ok_or_else(|| no_statement(name))?.clone();
                out.extend_from_slice(&reply::NO_PARAMETERS);
                Portal { plan, formats: vec![] }
            }
            Target::Portal(name) => self.portals.get(name).ok_or_else(no_portal)?.clone(),
        };
        let columns = portal.plan.and_then(|plan| plan.columns());
        if columns.is_none() {
            out.extend_from_slice(&reply::NO_DATA);
        }
        describe(columns, |column| format_of(&portal.formats, column), out);
        Ok(())
    }
}

fn line((item, value): (&'static str, String)) -> Row {
    vec![Value::Text(item.to_owned()), Value::Text(value)]
}

fn describe(
    columns: Option<&'static [super::commands::Column]>,
    format: impl Fn(usize) -> Format,
    out: &mut Vec<u8>,
) {
    if let Some(columns) = columns {
        reply::row_description(out, columns.iter().copied(), format);
    }
}

/// The formats that a Bind without parameters wants; `rest` is its body behind the names.
fn formats(rest: &[u8]) -> Result<Vec<Format>, Report> {
    let mut fields = Fields::new(rest);
    let parameter_formats = fields.short().ok_or_else(malformed)?;
    fields.bytes(usize::from(parameter_formats) * 2).ok_or_else(malformed)?;
    if fields.short().ok_or_else(malformed)? != 0 {
        return Err(plan::error("08P01", "commands of the console have no parameters"));
    }
    let mut formats = Vec::new();
    for _ in 0..fields.short().ok_or_else(malformed)? {
        formats.push(match fields.short().ok_or_else(malformed)? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(malformed()),
        });
    }
    Ok(formats)
}

fn keep<T>(kept: &mut HashMap<Vec<u8>, T>, name: &[u8], value: T) -> Result<(), Report> {
    if kept.len() >= NAMES_MAX && !kept.contains_key(name) {
        let text = format!("the console keeps up to {NAMES_MAX} prepared statements and portals");
        return Err(plan::error("53400", text));
    }
    kept.insert(name.to_vec(), value);
    Ok(())
}

/// What has no rows.
fn notices(texts: impl IntoIterator<Item = String>, out: &mut Vec<u8>) -> Vec<Row> {
    for text in texts {
        Report { severity: Severity::Notice, ..plan::error("00000", text) }.write(out);
    }
    vec![]
}

fn malformed() -> Report {
    plan::error("08P01", "malformed message")
}

fn no_portal() -> Report {
    plan::error("34000", "portal does not exist")
}

fn no_statement(name: &[u8]) -> Report {
    let name = String::from_utf8_lossy(name);
    plan::error("26000", format!("prepared statement \"{name}\" does not exist"))
}

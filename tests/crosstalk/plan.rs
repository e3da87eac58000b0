//! What a client sends: random, and the same for the same seed.

use std::rc::Rc;
use std::time::Duration;

use crate::model::{CopyLines, Message, Model};
use crate::statement::{Does, Statement, shared};

/// A generator of random numbers (xorshift64*).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mixed = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self((mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }

    pub fn duration_below(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(limit.as_micros()).unwrap()))
    }
}

/// Messages that are sent without reading, up to places where the replies are waited for.
#[derive(Debug)]
pub struct Batch {
    pub messages: Vec<Message>,
    /// Replies are read before the message of this index is sent.
    pub pauses: Vec<usize>,
}

/// What else a batch has to be fit for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs to its end.
    Calm,
    /// It is cancelled.
    Cancelled,
    /// Its client goes in the midst of it: what it may have committed must not matter.
    Cut,
}

/// Makes batches for one client.
pub struct Planner {
    pub dice: Dice,
    client: usize,
    shared: Vec<Rc<Statement>>,
    bump: Rc<Statement>,
    requests: u64,
    fate: Fate,
    messages: Vec<Message>,
    pauses: Vec<usize>,
    /// Extended messages were added, and no Sync behind them.
    open: bool,
}

const NAMES: [&str; 6] = ["s0", "s1", "s2", "s3", "pgweir_1", "S 4"];

impl Planner {
    pub fn new(seed: u64, client: usize) -> Self {
        Self {
            dice: Dice::new(seed ^ ((client as u64) << 40)),
            client,
            shared: shared(),
            bump: Statement::bump(client),
            requests: 0,
            fate: Fate::Calm,
            messages: Vec::new(),
            pauses: Vec::new(),
            open: false,
        }
    }

    pub fn batch(&mut self, model: &Model, fate: Fate) -> Batch {
        self.fate = fate;
        if fate == Fate::Cancelled || self.dice.once_in(40) {
            self.sleep();
        }
        for _ in 0..=self.dice.below(7) {
            self.unit(model);
            if self.dice.once_in(3) {
                self.sync();
            }
        }
        // An open transaction holds one of two servers: it does not stay open for long.
        if model.status != b'I' && fate != Fate::Cut && self.dice.once_in(3) {
            let does = if self.dice.once_in(3) { Does::Rollback } else { Does::Commit };
            self.transact(does);
        }
        if self.open {
            self.messages.push(Message::Sync);
            self.open = false;
        }
        // It takes the client's own settings too, for as long as its server stays with it.
        if self.dice.once_in(60) {
            self.plain(Does::DiscardAll);
        }
        Batch {
            messages: std::mem::take(&mut self.messages),
            pauses: std::mem::take(&mut self.pauses),
        }
    }

    fn unit(&mut self, model: &Model) {
        match self.dice.below(100) {
            0..15 => self.simple(),
            15..20 => self.simple_block(),
            20..35 => self.unnamed(),
            35..55 => self.named(),
            55..60 => self.reuse_unnamed(),
            60..67 => self.limited(model),
            67..75 => self.wrong(),
            75..83 => self.transaction(),
            83..86 => self.copy_out(),
            86..89 => self.copy_in(),
            89..91 => self.call(),
            91..93 => self.forget(),
            93..96 => self.dirty(),
            96 => self.limit_time(),
            _ => self.bump(),
        }
    }

    // --- parts ------------------------------------------------------------------------------

    fn tag(&mut self) -> String {
        self.requests += 1;
        let mut tag = format!("c{}.r{}.", self.client, self.requests);
        if self.dice.once_in(60) {
            tag += &"y".repeat(usize::try_from(self.dice.below(40_000)).unwrap());
        }
        tag
    }

    fn number(&mut self) -> u64 {
        if self.dice.once_in(100) { self.dice.below(2000) } else { self.dice.below(7) }
    }

    fn values(&mut self) -> Option<(String, u64)> {
        Some((self.tag(), self.number()))
    }

    fn a_shared(&mut self) -> Rc<Statement> {
        Rc::clone(self.dice.pick(&self.shared))
    }

    fn ask(&mut self, message: Message) {
        self.open = true;
        self.messages.push(message);
        if self.dice.once_in(25) {
            self.messages.push(Message::Flush);
            if self.dice.once_in(2) {
                self.pauses.push(self.messages.len());
            }
        }
    }

    fn pause(&mut self) {
        if self.dice.once_in(4) {
            self.pauses.push(self.messages.len());
        }
    }

    fn sync(&mut self) {
        self.messages.push(Message::Sync);
        self.open = false;
        self.pause();
    }

    fn settle(&mut self) {
        if self.open {
            self.sync();
        }
    }

    fn query(&mut self, list: Vec<Rc<Statement>>) {
        let list = list.into_iter().map(|s| (s, self.tag(), self.number())).collect();
        self.messages.push(Message::Query(list));
        // Where the server skips to a Sync there will be no ReadyForQuery before it.
        if !self.open {
            self.pause();
        }
    }

    fn plain(&mut self, does: Does) {
        self.query(vec![Statement::plain(does)]);
    }

    fn run(&mut self, statement: Rc<Statement>) {
        let values = if statement.parameters > 0 { self.values() } else { None };
        self.ask(Message::Parse { name: String::new(), statement });
        self.run_named("", "", values);
    }

    fn run_named(&mut self, portal: &str, name: &str, values: Option<(String, u64)>) {
        let (portal, name) = (portal.to_owned(), name.to_owned());
        if self.dice.once_in(4) {
            self.ask(Message::DescribeStatement(name.clone()));
        }
        self.ask(Message::Bind { portal: portal.clone(), name, values });
        if self.dice.once_in(4) {
            self.ask(Message::DescribePortal(portal.clone()));
        }
        self.ask(Message::Execute { portal, limit: 0 });
    }

    // --- units ------------------------------------------------------------------------------

    fn simple(&mut self) {
        let count = if self.dice.once_in(3) { 1 + self.dice.below(4) } else { 1 };
        let list = (0..count).map(|_| self.a_shared()).collect();
        self.query(list);
    }

    fn simple_block(&mut self) {
        self.settle();
        let mut list = vec![Statement::plain(Does::Begin), self.a_shared()];
        if self.dice.once_in(2) && self.fate != Fate::Cut {
            list.push(Rc::clone(&self.bump));
        }
        let end = if self.dice.once_in(3) { Does::Rollback } else { Does::Commit };
        if self.fate != Fate::Cut {
            list.push(Statement::plain(end));
        }
        self.query(list);
    }

    fn unnamed(&mut self) {
        let statement =
            if self.dice.once_in(15) { Statement::plain(Does::Empty) } else { self.a_shared() };
        self.run(statement);
    }

    fn named(&mut self) {
        let name = (*self.dice.pick(&NAMES)).to_owned();
        if self.dice.once_in(6) {
            self.ask(Message::CloseStatement(name.clone()));
        }
        if self.dice.once_in(2) {
            let statement = self.a_shared();
            self.ask(Message::Parse { name: name.clone(), statement });
            if self.dice.once_in(4) {
                self.ask(Message::DescribeStatement(name.clone()));
                self.sync();
            }
        }
        for _ in 0..=self.dice.below(3) {
            let values = self.values();
            self.run_named("", &name, values);
        }
    }

    fn reuse_unnamed(&mut self) {
        // It may be the bump, whose commit nobody would see.
        if self.fate == Fate::Cut {
            return self.unnamed();
        }
        if self.dice.once_in(6) {
            self.ask(Message::CloseStatement(String::new()));
        }
        let values = self.values();
        self.run_named("", "", values);
    }

    fn limited(&mut self, model: &Model) {
        if let Some(portal) = model.suspended().filter(|_| self.dice.once_in(2)) {
            let (portal, limit) = (portal.to_owned(), self.dice.below(4));
            return self.ask(Message::Execute { portal, limit });
        }
        let portal = format!("p{}", self.requests);
        let name = (*self.dice.pick(&NAMES)).to_owned();
        let values = self.values();
        let statement = self.a_shared();
        self.ask(Message::CloseStatement(name.clone()));
        self.ask(Message::Parse { name: name.clone(), statement });
        self.ask(Message::Bind { portal: portal.clone(), name, values });
        for _ in 0..=self.dice.below(3) {
            let limit = 1 + self.dice.below(4);
            self.ask(Message::Execute { portal: portal.clone(), limit });
        }
        if self.dice.once_in(4) {
            self.ask(Message::ClosePortal(portal));
        }
    }

    fn wrong(&mut self) {
        match self.dice.below(8) {
            0 => self.plain(Does::BadSyntax),
            1 => self.run(Statement::plain(Does::BadSyntax)),
            2 => {
                let list = vec![self.a_shared(), Statement::plain(Does::NoTable), self.a_shared()];
                self.query(list);
                if self.dice.once_in(2) {
                    self.query(vec![Statement::probe_temporary()]);
                }
                self.plain(Does::DropTemporary);
            }
            3 => {
                let name = (*self.dice.pick(&NAMES)).to_owned();
                let statement = Statement::plain(Does::NoTable);
                self.ask(Message::Parse { name, statement });
            }
            4 => self.plain(Does::Duplicate),
            5 => self.run(Statement::plain(Does::Duplicate)),
            6 => self.ask(Message::Execute { portal: "never".to_owned(), limit: 0 }),
            _ => {
                let values = self.values();
                let name = (*self.dice.pick(&["never", "pgweir_2", "pgweir_"])).to_owned();
                self.ask(Message::Bind { portal: String::new(), name, values });
            }
        }
    }

    fn transaction(&mut self) {
        let name = u8::try_from(self.dice.below(3)).unwrap();
        let does = match self.dice.below(10) {
            0..3 => Does::Begin,
            3..5 => Does::Commit,
            5 => Does::Rollback,
            6..8 => Does::Savepoint(name),
            8 => Does::RollbackTo(name),
            _ => Does::Release(name),
        };
        if self.fate != Fate::Cut || does != Does::Commit {
            self.transact(does);
        }
    }

    fn transact(&mut self, does: Does) {
        self.settle();
        if self.dice.once_in(3) {
            self.run(Statement::plain(does));
            self.sync();
        } else {
            self.plain(does);
        }
    }

    fn copy_out(&mut self) {
        let rows = self.number() * 3;
        let fails_at = *self.dice.pick(&[1_000_000, 1_000_000, 2]);
        let statement = Statement::copy_out(&self.tag(), rows, fails_at);
        if self.dice.once_in(2) {
            self.query(vec![statement]);
        } else {
            self.run(statement);
        }
    }

    fn copy_in(&mut self) {
        if self.fate == Fate::Cut {
            // The rows must not count: they end with a line that is none.
            return self.copy_rows(true);
        }
        let broken = self.dice.once_in(4);
        self.copy_rows(broken);
    }

    fn copy_rows(&mut self, broken: bool) {
        let extended = self.dice.once_in(2);
        let statement = Statement::plain(Does::CopyIn);
        // As libpq does: the Sync behind the Execute is lost to the COPY.
        let early = extended && self.fate == Fate::Calm && self.dice.once_in(2);
        self.settle();
        if extended {
            self.messages.push(Message::Parse { name: String::new(), statement });
            let (portal, name) = (String::new(), String::new());
            self.messages.push(Message::Bind { portal: portal.clone(), name, values: None });
            self.messages.push(Message::Execute { portal, limit: 0 });
            if early {
                self.messages.push(Message::Sync);
            }
        } else {
            self.query(vec![statement]);
        }
        for _ in 0..self.dice.below(4) {
            let rows = self.number();
            let lines = CopyLines { client: self.client, rows, broken: false };
            self.messages.push(Message::CopyData(lines));
        }
        if broken {
            let lines = CopyLines { client: self.client, rows: 0, broken };
            self.messages.push(Message::CopyData(lines));
        }
        let done = broken || !self.dice.once_in(4);
        self.messages.push(if done { Message::CopyDone } else { Message::CopyFail });
        if extended {
            self.sync();
        } else {
            self.pause();
        }
    }

    fn call(&mut self) {
        let (a, b) = (self.tag(), self.tag());
        self.messages.push(Message::Call(a, b));
        if !self.open {
            self.pause();
        }
    }

    fn forget(&mut self) {
        let does = match self.dice.below(6) {
            0 => Does::DeallocateAll,
            _ => Does::Deallocate((*self.dice.pick(&["s0", "s1", "s2", "never"])).to_owned()),
        };
        self.plain(does);
    }

    fn dirty(&mut self) {
        match self.dice.below(5) {
            0 => self.plain(Does::SetZone(format!("<C{}>-3", self.client))),
            1 => {
                let zone = Statement::plain(Does::SetTag(format!("c{}", self.client)));
                self.run(zone);
            }
            2 => {
                let owner = format!("crosstalk-{}", self.client);
                let list =
                    vec![Statement::plain(Does::DropTemporary), Statement::make_temporary(&owner)];
                self.query(list);
                if self.dice.once_in(2) {
                    self.query(vec![Statement::probe_temporary()]);
                }
                self.plain(Does::DropTemporary);
            }
            3 => self.query(vec![Statement::probe_temporary()]),
            // A pin must end: there are more clients than servers.
            _ => {
                self.run(Statement::lock(self.client));
                self.run(Statement::unlock());
            }
        }
    }

    fn limit_time(&mut self) {
        self.settle();
        for does in [Does::Begin, Does::LimitTime] {
            self.plain(does);
        }
        if self.fate == Fate::Calm {
            self.query(vec![Statement::sleep(3000)]);
        }
        self.plain(Does::Rollback);
    }

    fn sleep(&mut self) {
        let statement = Statement::sleep(self.dice.below(6));
        if self.dice.once_in(2) {
            self.query(vec![statement]);
        } else {
            self.run(statement);
        }
    }

    fn bump(&mut self) {
        if self.fate == Fate::Cut {
            return self.simple();
        }
        let bump = Rc::clone(&self.bump);
        if self.dice.once_in(2) {
            self.query(vec![bump]);
        } else {
            self.run(bump);
        }
    }
}

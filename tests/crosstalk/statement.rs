//! Statements whose replies can be foretold.

use std::rc::Rc;

/// A statement, for the simple protocol (with its parameters filled in) and for the extended one.
#[derive(Debug)]
pub struct Statement {
    /// `$1::text` is a tag, `$2::int` a number, where there are parameters.
    pub text: String,
    /// Parameters: none, or tag and number.
    pub parameters: usize,
    /// Columns of its rows; 0 for a statement without.
    pub columns: usize,
    pub does: Does,
}

/// What a statement does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// Rows of the tag, a number and a padding of this length; division by zero in this row.
    Series {
        pad: usize,
        fails_at: u64,
    },
    /// Rows that are owned by the client of that number.
    Owned,
    /// What is in force of the client's settings.
    Settings,
    /// Adds 1 to the client's counter.
    Bump,
    /// Waits for so many milliseconds.
    Sleep(u64),
    /// Takes a lock that outlives the transaction.
    Lock,
    Begin,
    Commit,
    Rollback,
    Savepoint(u8),
    RollbackTo(u8),
    Release(u8),
    Empty,
    /// `SET LOCAL statement_timeout`.
    LimitTime,
    /// `SET TimeZone`.
    SetZone(String),
    /// `SET crosstalk.tag`.
    SetTag(String),
    DropTemporary,
    MakeTemporary,
    /// Reads what only this client's session may have.
    ProbeTemporary,
    Deallocate(String),
    DeallocateAll,
    DiscardAll,
    CopyOut {
        rows: u64,
        fails_at: u64,
        tag: String,
    },
    CopyIn,
    /// An error found when the text is read, when it is analyzed, or when it runs.
    BadSyntax,
    NoTable,
    Duplicate,
}

impl Statement {
    fn new(text: impl Into<String>, columns: usize, does: Does) -> Rc<Self> {
        let text = text.into();
        let parameters = if text.contains("$1::text") { 2 } else { 0 };
        Rc::new(Self { text, parameters, columns, does })
    }

    /// The text with its parameters filled in.
    pub fn filled(&self, tag: &str, number: u64) -> String {
        let text = self.text.replace("$1::text", &format!("'{tag}'::text"));
        text.replace("$2::int", &format!("{number}::int"))
    }

    /// Whether a failed transaction takes it.
    pub fn ends_transaction(&self) -> bool {
        matches!(self.does, Does::Commit | Does::Rollback | Does::RollbackTo(_))
    }

    pub fn series(pad: usize, fails_at: u64) -> Rc<Self> {
        let text = format!(
            "select $1::text as tag, g, repeat('x', {pad}), 60/({fails_at}-g) \
             from generate_series(1, $2::int) g"
        );
        Self::new(text, 4, Does::Series { pad, fails_at })
    }

    pub fn owned() -> Rc<Self> {
        let text = "select $1::text, tag, n from public.owned where client = $2::int order by n";
        Self::new(text, 3, Does::Owned)
    }

    pub fn settings() -> Rc<Self> {
        let text = "select $1::text, $2::int, current_setting('search_path'), name, \
                    current_setting('application_name'), current_setting('TimeZone'), \
                    current_setting('crosstalk.tag', true) from whoami";
        Self::new(text, 7, Does::Settings)
    }

    pub fn bump(client: usize) -> Rc<Self> {
        let text = format!(
            "update public.counter set v = v + 1 where client = {client} \
             returning $1::text, $2::int, v"
        );
        Self::new(text, 3, Does::Bump)
    }

    pub fn sleep(milliseconds: u64) -> Rc<Self> {
        let text = format!("select $1::text, $2::int, pg_sleep({milliseconds} / 1000.0)");
        Self::new(text, 3, Does::Sleep(milliseconds))
    }

    pub fn lock(client: usize) -> Rc<Self> {
        let text = format!("select $1::text, $2::int, pg_advisory_lock({client})");
        Self::new(text, 3, Does::Lock)
    }

    /// Releases what [`lock`](Self::lock) takes.
    pub fn unlock() -> Rc<Self> {
        let text = "select $1::text, $2::int, pg_advisory_unlock_all()";
        Self::new(text, 3, Does::Lock)
    }

    pub fn copy_out(tag: &str, rows: u64, fails_at: u64) -> Rc<Self> {
        let text = format!(
            "copy (select '{tag}', g, 60/({fails_at}-g) from generate_series(1, {rows}) g) to stdout"
        );
        Self::new(text, 0, Does::CopyOut { rows, fails_at, tag: tag.to_owned() })
    }

    pub fn plain(does: Does) -> Rc<Self> {
        let text = match &does {
            Does::Begin => "begin".to_owned(),
            Does::Commit => "commit".to_owned(),
            Does::Rollback => "rollback".to_owned(),
            Does::Savepoint(n) => format!("savepoint sp{n}"),
            Does::RollbackTo(n) => format!("rollback to sp{n}"),
            Does::Release(n) => format!("release savepoint sp{n}"),
            Does::Empty => String::new(),
            Does::LimitTime => "set local statement_timeout = 15".to_owned(),
            Does::SetZone(zone) => format!("set timezone = '{zone}'"),
            Does::SetTag(tag) => format!("set crosstalk.tag = '{tag}'"),
            Does::DropTemporary => "drop table if exists pg_temp.mine".to_owned(),
            Does::Deallocate(name) => format!("deallocate {name}"),
            Does::DeallocateAll => "deallocate all".to_owned(),
            Does::DiscardAll => "discard all".to_owned(),
            Does::CopyIn => "copy public.sink (client, tag) from stdin".to_owned(),
            Does::BadSyntax => "selec 1".to_owned(),
            Does::NoTable => "select * from nowhere".to_owned(),
            Does::Duplicate => "insert into public.uniq values (1)".to_owned(),
            other => panic!("{other:?} has parts"),
        };
        Self::new(text, 0, does)
    }

    pub fn make_temporary(owner: &str) -> Rc<Self> {
        let text = format!("create temp table mine as select '{owner}'::text as t");
        Self::new(text, 0, Does::MakeTemporary)
    }

    pub fn probe_temporary() -> Rc<Self> {
        Self::new("select t from mine", 1, Does::ProbeTemporary)
    }
}

/// Statements that all clients share, word for word.
pub fn shared() -> Vec<Rc<Statement>> {
    let mut all = vec![Statement::owned(), Statement::settings(), Statement::settings()];
    for pad in [0, 1, 7, 30, 100, 300, 1000, 3000] {
        all.push(Statement::series(pad, 1_000_000));
    }
    for fails_at in 1..5 {
        all.push(Statement::series(2, fails_at));
    }
    all
}

/// Rows that every client owns in the table `owned`.
pub const OWNED_ROWS: u64 = 5;

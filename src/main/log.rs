//! The log: to standard error, and to a file that can be opened anew.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pgweir::config::{Environment, General, LogFormat};
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{DefaultVisitor, FormatFields, Writer};

/// Where the log goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// Standard error has it, too.
    to_standard_error: bool,
    file: Arc<Mutex<Option<Kept>>>,
}

/// A file that the log is appended to.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    file: File,
}

/// From here on there is a log on standard error, of as many words as the configuration wants. It
/// begins with what counts of the environment.
pub(super) fn begin(environment: &Environment, general: Option<&General>) {
    let log = Log { to_standard_error: true, file: Arc::default() };
    log.begin(environment, general);
}

impl Log {
    /// A log to this file, and to standard error unless it is to be quiet.
    ///
    /// # Errors
    /// When the file can't be written to.
    pub(super) fn new(path: Option<&Path>, quiet: bool) -> io::Result<Self> {
        let file = path.map(Kept::open).transpose()?;
        Ok(Self { to_standard_error: !quiet, file: Arc::new(Mutex::new(file)) })
    }

    /// From here on it is written.
    pub(super) fn begin(&self, environment: &Environment, general: Option<&General>) {
        let words = match general.map_or(0, |general| general.verbose) {
            0 => "info",
            1 => "info,pgweir=debug",
            2 => "debug",
            _ => "trace",
        };
        let filter =
            EnvFilter::try_from_env("PGWEIR_LOG").unwrap_or_else(|_| EnvFilter::new(words));
        let terminal = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let colour = terminal && self.lock().is_none();
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour);
        let log = log.with_writer(self.clone());
        match general.map_or(LogFormat::Text, |general| general.log_format) {
            LogFormat::Text => log.fmt_fields(Words).init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
        for sentence in environment.unknown() {
            tracing::warn!("{sentence}");
        }
        let used = environment.used();
        if !used.is_empty() {
            tracing::info!("from the environment: {}", used.join(", "));
        }
    }

    /// Opens its file anew: the one that there was may have been moved away.
    pub(super) fn reopen(&self) {
        let path = self.lock().as_ref().map(|kept| kept.path.clone());
        self.follow(path.as_deref());
    }

    /// Goes to this file from now on. When it can't be opened, it goes where it went.
    pub(super) fn follow(&self, path: Option<&Path>) {
        match path.map(Kept::open).transpose() {
            Ok(kept) => *self.lock() = kept,
            Err(error) => tracing::error!("logfile: {error}"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            let text = format!("{} can't be opened: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(Self { path: path.to_owned(), file })
    }
}

/// Numbers that the words of a line say in another form: only an object has them.
static FOR_MACHINES: &[&str] = &["value", "threshold", "silenced", "waited_ms", "ran_ms"];
/// What the words of a line may say already: then only an object has fields of their own.
static IN_WORDS: &[&str] = &[
    "user",
    "database",
    "addr",
    "reason",
    "age",
    "order",
    "about",
    "alert",
    "severity",
    "state",
    "detail",
    "statement",
];

/// The fields of a line of words: those that it does not say already.
#[derive(Clone, Copy, Debug)]
struct Words;

impl<'w> FormatFields<'w> for Words {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = DefaultVisitor::new(writer, true);
        fields.record(&mut Leaving { visitor: &mut visitor, words: String::new() });
        visitor.finish()
    }
}

/// Leaves out what the words say, which come first.
struct Leaving<'v> {
    visitor: &'v mut dyn Visit,
    words: String,
}

impl Leaving<'_> {
    fn is_said(&mut self, field: &Field, value: String) -> bool {
        if field.name() == "message" {
            self.words = value;
            return false;
        }
        FOR_MACHINES.contains(&field.name())
            || IN_WORDS.contains(&field.name()) && self.words.contains(value.trim_matches('"'))
    }
}

impl Visit for Leaving<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !self.is_said(field, format!("{value:?}")) {
            self.visitor.record_debug(field, value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if !self.is_said(field, value.to_owned()) {
            self.visitor.record_str(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.visitor.record_error(field, value);
    }
}

/// One line of the log at a time.
pub(super) struct Line<'a>(&'a Log);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Self(log) = self;
        let kept = log.lock().as_mut().map_or(Ok(()), |kept| kept.file.write_all(line));
        if log.to_standard_error {
            io::stderr().write_all(line)?;
        }
        kept.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

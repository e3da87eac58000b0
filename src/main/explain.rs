//! `pgweir explain`: where a text would run, and why.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use pgweir::app::explain::Explainer;
use pgweir::config;
use pgweir::route::Session;

use super::{Direct, Told, environment, print};

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct Question {
    /// What would be run: each of them one statement or several.
    #[arg(required = true)]
    sql: Vec<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Assumed,
}

/// Whose catalog is asked.
#[derive(Debug, Args)]
struct Place {
    /// The server, as a URL. Without it: a file, or the environment as without a command.
    #[arg(long, conflicts_with = "file")]
    url: Option<String>,
    /// pooler.toml.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The database; needed where there are several.
    #[arg(long)]
    database: Option<String>,
}

/// What is assumed of the session that would run it.
#[derive(Debug, Args)]
struct Assumed {
    /// A transaction is open.
    #[arg(long)]
    in_transaction: bool,
    /// Its transactions are read only (default_transaction_read_only).
    #[arg(long)]
    read_only: bool,
    /// It has temporary tables.
    #[arg(long)]
    temporary: bool,
    /// Its client_encoding.
    #[arg(long, default_value = "UTF8")]
    client_encoding: String,
}

/// Loads the catalog and explains one text after the other.
pub(super) fn explain(question: Question) -> anyhow::Result<ExitCode> {
    let environment = environment();
    let Question { sql: texts, place: Place { url, file, database }, session: assumed } = question;
    let config = match file {
        Some(file) => config::file::load(&file, &environment)?.config,
        None => {
            let flags = Direct { url, replica: vec![], port: None, listen: None, http: None };
            Told::new(flags, &environment)?.config(&environment)?
        }
    };
    let database = match &database {
        Some(name) => config.database(name).with_context(|| format!("no such database: {name}"))?,
        None => {
            let mut databases = config.databases.values();
            match (databases.next(), databases.next()) {
                (Some(database), None) => Arc::clone(database),
                _ => anyhow::bail!("there are several databases: --database says which"),
            }
        }
    };
    let session = Session {
        in_transaction: assumed.in_transaction,
        read_only: assumed.read_only,
        temporary: assumed.temporary,
        other_encoding: !["UTF8", "UTF-8"]
            .iter()
            .any(|utf8| assumed.client_encoding.eq_ignore_ascii_case(utf8)),
        ..Session::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let explainer = runtime.block_on(Explainer::new(&config, &database));
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            print("");
        }
        for (what, value) in explainer.explain(text.as_bytes(), session) {
            print(&format!("{what:<10} {value}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

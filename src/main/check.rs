//! `pgweir check`: what a configuration file amounts to, or everything that is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use pgweir::app::inspect::{Check, Level, inspect, json};
use pgweir::app::shards;
use pgweir::config;
use pgweir::config::ini::{Loaded, Remark, Weight};

use super::{environment, log, print};

/// What is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The file.
    File,
    /// Its servers as well.
    Servers,
}

/// What a report looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Lines,
    /// For machines.
    Json,
}

/// What the file amounts to, or everything that is wrong with it; then what its servers say.
pub(super) fn check(file: &Path, depth: Depth, form: Form) -> anyhow::Result<ExitCode> {
    let environment = environment();
    let loaded = config::file::load(file, &environment);
    let loaded = loaded.and_then(|loaded| shards::check(&loaded.config).map(|()| loaded));
    log::begin(&environment, loaded.as_ref().ok().map(|loaded| &loaded.config.general));
    let Loaded { config, remarks, .. } = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            match form {
                Form::Lines => eprintln!("{problems}"),
                Form::Json => print(&json(&problems.iter().map(Check::from).collect::<Vec<_>>())),
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut report = config::check::report(&config);
    report.extend(remarks.into_iter().map(|Remark { weight, text }| match weight {
        Weight::Warning => format!("warning: {text}"),
        Weight::Note => format!("note: {text}"),
    }));
    let servers = if depth == Depth::Servers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(inspect(&config))
    } else {
        Vec::new()
    };
    let failed = servers.iter().any(|check| check.level == Level::Error);
    match form {
        Form::Lines => {
            report.iter().for_each(|line| print(line));
            servers.iter().for_each(|check| print(&check.to_string()));
        }
        Form::Json => {
            let place = file.display().to_string();
            let mut checks: Vec<_> =
                report.iter().map(|line| Check::of_report(&place, line)).collect();
            checks.extend(servers);
            print(&json(&checks));
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

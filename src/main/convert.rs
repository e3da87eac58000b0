//! `pgweir convert`: a `pooler.toml` of PgBouncer's ini.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pgweir::config::file;
use pgweir::config::ini::{Converted, Files, Remark, Weight};

use super::print;

/// What is converted, and where to.
#[derive(Debug, Args)]
pub(super) struct Conversion {
    /// pgbouncer.ini.
    file: PathBuf,
    /// The list of users, if it is another than the ini's auth_file.
    userlist: Option<PathBuf>,
    /// Write this file, and beside it one with the passwords of databases, if there are any.
    /// Without it the text goes to standard output, and passwords nowhere.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// The file of passwords, where there is no other name to go by.
const PASSWORDS: &str = "pooler.passwords";

/// Writes the file, and says to standard error what is not as it was.
pub(super) fn convert(conversion: &Conversion) -> anyhow::Result<ExitCode> {
    let Conversion { file, userlist, output } = conversion;
    let passwords = match output {
        Some(output) => std::path::absolute(output)?.with_extension("passwords"),
        None => PathBuf::from(PASSWORDS),
    };
    let password_file = passwords.display().to_string();
    let auth_file = userlist.as_ref().map(|path| path.display().to_string());
    let files = Files { password_file: &password_file, auth_file: auth_file.as_deref() };
    let converted = match file::convert(file, files) {
        Ok(converted) => converted,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let Converted { toml, passwords: secret, remarks, sum } = converted;
    match output {
        Some(output) => {
            if let Some(secret) = &secret {
                write(&passwords, secret.expose(), 0o600)?;
            }
            write(output, &toml, 0o640)?;
        }
        None => print(toml.trim_end()),
    }
    for Remark { weight, text } in &remarks {
        let mark = if *weight == Weight::Warning { "warning" } else { "note" };
        eprintln!("{mark}: {text}");
    }
    eprintln!("{}: {sum}", file.display());
    if output.is_none() && secret.is_some() {
        eprintln!(
            "the passwords in [databases] are not shown: with --output FILE they are written to a \
             file beside it, which only its owner may read"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("{} can't be made", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

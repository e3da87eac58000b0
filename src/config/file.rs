//! Configuration files of either format: `pooler.toml`, and PgBouncer's ini.

use std::path::Path;

use super::environment::Environment;
use super::ini::{self, Converted, Files, Loaded};
use super::model::Config;
use super::problem::Problems;
use super::read::text_of;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours.
    Toml,
    /// PgBouncer's.
    Ini,
}

impl Format {
    /// By the name's ending, or else by what stands in it: only an ini has a `[pgbouncer]`.
    #[must_use]
    pub fn of(path: &Path, text: &str) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending {
            "toml" => Self::Toml,
            "ini" => Self::Ini,
            _ if text.lines().any(|line| line.trim_start().starts_with("[pgbouncer]")) => Self::Ini,
            _ => Self::Toml,
        }
    }
}

/// Reads a configuration file and the files that it names; general keys that the environment sets
/// are not the file's.
///
/// # Errors
/// Everything that is wrong in any of them.
pub fn load(path: impl AsRef<Path>, environment: &Environment) -> Result<Loaded, Problems> {
    let path = path.as_ref();
    let (name, text) = text_of(path)?;
    match Format::of(path, &text) {
        Format::Ini => ini::load(&name, &text, &read, environment),
        Format::Toml => {
            let config = Config::from_toml_str_in(&name, &text, environment)?;
            Ok(Loaded::from(config))
        }
    }
}

/// Makes a `pooler.toml` of an ini.
///
/// # Errors
/// Everything that is wrong with it.
pub fn convert(path: impl AsRef<Path>, files: Files<'_>) -> Result<Converted, Problems> {
    let (name, text) = text_of(path.as_ref())?;
    ini::convert(&name, &text, &read, files)
}

pub(super) fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

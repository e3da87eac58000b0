//! What the configuration promises, from outside.

mod alerts;
mod environment;
mod files;
mod problems;
mod reference;
mod urls;
mod values;

use super::{Config, Problems};

/// A file with one database and one user, after `general`.
fn with_database(general: &str) -> String {
    format!("{general}\n[databases.shop]\nhost = \"db\"\n[users.app]\npassword = \"pw\"\n")
}

fn load(text: &str) -> Config {
    Config::from_toml_str("pooler.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Problems {
    Config::from_toml_str("pooler.toml", text).expect_err("must not load")
}

//! What a command of the console has done, and what has to follow its words.

use super::order::Order;

/// What is done, and for which databases.
#[derive(Debug)]
pub enum Act {
    /// Without more words.
    Whole(fn() -> Order),
    /// For the database whose name follows, or for all.
    Any(fn(Option<String>) -> Order),
    /// For what follows, which is called this.
    One(&'static str, fn(String) -> Order),
    /// For the host that follows, with its port or without, in quotes or not.
    Host(fn(String) -> Order),
    /// With a key and a value behind it.
    Set,
    /// With an alert's name behind it, and a time or nothing.
    Silence,
}

impl Act {
    /// The order, if so many words may follow the command's.
    pub(super) fn order(&self, word: Option<&str>) -> Option<Order> {
        let word = word.map(str::to_owned);
        match (self, word) {
            (Self::Whole(order), None) => Some(order()),
            (Self::Any(order), database) => Some(order(database)),
            (Self::One(_, order) | Self::Host(order), Some(word)) => Some(order(word)),
            (Self::Whole(_), Some(_))
            | (Self::One(..) | Self::Host(_), None)
            | (Self::Set | Self::Silence, _) => None,
        }
    }

    /// What follows the command's words, for people.
    pub(super) fn argument(&self) -> String {
        match self {
            Self::Whole(_) => String::new(),
            Self::Any(_) => " [database]".to_owned(),
            Self::One(what, _) => format!(" {what}"),
            Self::Host(_) => " host[:port]".to_owned(),
            Self::Set => " key = value".to_owned(),
            Self::Silence => " alert [for]".to_owned(),
        }
    }
}

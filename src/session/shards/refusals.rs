//! What clients are told whose requests can't be run on shards.

use crate::client::condition;
use crate::shard::{NoShard, NotAKey};
use crate::sql::facts::Name;
use crate::sql::keys::Refusal;
use crate::wire::reply::Report;

/// That it can't be run on shards, and what to do about it.
pub(in crate::session) fn refused(what: impl std::fmt::Display, way_out: &str) -> Box<Report> {
    let hint = Some(way_out.to_owned()).filter(|hint| !hint.is_empty());
    Box::new(Report { hint, ..condition::ON_SHARDS.about(what) })
}

/// The same, of a text by itself.
pub(in crate::session) fn refusal_of(Refusal { table, construct }: &Refusal) -> Box<Report> {
    match table {
        Some(table) => refused(format!("table {table}: {}", construct.text()), construct.way_out()),
        None => refused(construct.text(), construct.way_out()),
    }
}

pub(super) fn about(table: &Name, what: &str, way_out: &str) -> Box<Report> {
    refused(format!("table {table}: {what}"), way_out)
}

pub(super) const BY_HAND: &str = "Compare its key column with a value, or say where: /* pgweir: shard=… */, \
     /* pgweir: shard_key=… */, or /* pgweir: all_shards */ (allow_fan_out_writes).";

pub(super) fn too_long() -> Box<Report> {
    refused("a statement that is longer than max_statement_size", "Raise max_statement_size.")
}

/// Each look at a text takes the time of everybody's.
pub(super) fn too_much() -> Box<Report> {
    refused(
        "a request whose texts, each as often as it is bound, are longer than 32 MiB together",
        "Send a Sync more often.",
    )
}

/// Why a key has no shard.
pub(super) fn without_shard(why: &NoShard) -> Box<Report> {
    match why {
        NoShard::Encoding => not_utf8(),
        NoShard::Untyped(_) => Box::new(condition::SHARDS_UNKNOWN.report()),
        NoShard::WrongType { .. } => {
            refused(why, "Make the columns agree, or set key_type in the group's configuration.")
        }
        NoShard::NotAKey(NotAKey::Invalid(_)) => Box::new(condition::NO_KEY.about(why)),
        NoShard::NotAKey(NotAKey::OutOfRange(_)) => Box::new(condition::KEY_RANGE.about(why)),
        _ => refused(why, ""),
    }
}

pub(super) fn not_utf8() -> Box<Report> {
    refused(
        "a key with other characters than ASCII's in another client_encoding than UTF8",
        "SET client_encoding = 'UTF8'.",
    )
}

//! Which shard a text would run on, and why, for people.

use super::doubt::Doubt;
use super::planner::{Demand, Planner};
use super::plans::{Layout, Planned};
use crate::catalog::Current;
use crate::server::manner::Manner;
use crate::shard::{ShardId, Values};
use crate::sql::ShardHint;
use crate::sql::keys::{Access, Everywhere, Keyed, Plan, Slot};
use crate::wire::reply::Report;

/// Where a text would run that a session without settings sends by itself.
#[derive(Debug)]
pub struct ShardRoute {
    /// The shard; `None` where it may be any, or hangs on a parameter, or is none.
    pub shard: Option<ShardId>,
    /// It would run on one shard, so that there is more to tell of where on that.
    pub on_one: bool,
    /// What there is to tell of that.
    pub lines: Vec<(&'static str, String)>,
}

impl Layout {
    /// Finds out where a text would run, by what is known of the default shard; `fan_out_writes`: what has no
    /// key may change rows on all of them.
    pub fn explain(&self, text: &[u8], catalog: &Current, fan_out_writes: bool) -> ShardRoute {
        let planner = Planner {
            layout: self,
            last: None,
            catalog,
            manner: &Manner::default(),
            reported: None,
            message_max: u32::MAX,
            statement_max: usize::MAX,
            follows_names: true,
            fan_out_writes,
            unseen: None,
        };
        let planned = planner.planned(text);
        let mut open = Vec::new();
        let placed = planner.place(text, &planned, &mut Doubt::default(), |planner, keyed| {
            open = parameters(keyed);
            match open.is_empty() {
                true => planner.target(&planned, keyed, &mut Values::of_query(text)),
                false => Ok(Demand::Anywhere),
            }
        });
        let (shard, name) = match placed {
            Ok(Demand::On(shard)) => (Some(shard), planner.name(shard).to_owned()),
            Ok(Demand::Parts(set, _)) => {
                if let Err(report) = planner.spreading(text, &mut Values::of_query(text)) {
                    return none(*report);
                }
                let names: Vec<&str> = set.iter().map(|shard| planner.name(shard)).collect();
                let lines = vec![
                    ("shard", names.join(", ")),
                    ("shard because", why(&planned)),
                    ("target", "primary".to_owned()),
                ];
                return ShardRoute { shard: None, on_one: false, lines };
            }
            Ok(Demand::Anywhere) if open.is_empty() => (None, "any".to_owned()),
            Ok(Demand::Anywhere) => (None, format!("that of the key in {}", open.join(", "))),
            Err(report) => return none(*report),
        };
        let lines = vec![("shard", name), ("shard because", why(&planned))];
        ShardRoute { shard, on_one: true, lines }
    }
}

/// It would not run.
fn none(report: Report) -> ShardRoute {
    let mut lines = vec![("shard", "none".to_owned()), ("refused", report.message)];
    lines.extend(report.hint.map(|hint| ("way out", hint)));
    ShardRoute { shard: None, on_one: false, lines }
}

/// Why a text runs where it runs.
fn why(planned: &Planned) -> String {
    let hint = matches!(planned.hint, Ok(Some(ShardHint::Shard(_) | ShardHint::Key(_))));
    match &planned.plan {
        Plan::Keyed(Keyed { roots, .. }) => {
            let mut tables: Vec<_> = roots.iter().map(|root| root.table.to_string()).collect();
            tables.dedup();
            format!("of the key of {}", tables.join(", "))
        }
        _ if hint => "a comment names it".to_owned(),
        _ if planned.schemas.as_ref().is_some_and(|by| !by.named.is_empty()) => {
            "of the schema that it names".to_owned()
        }
        Plan::AllShards(Everywhere { table, .. }) => format!("{table} has rows on all of them"),
        Plan::Session => "it is about the session".to_owned(),
        Plan::Reference(Access::Writes) => "every shard has a copy of what it changes".to_owned(),
        Plan::Defines => "it is about what is on all of them".to_owned(),
        _ if matches!(planned.hint, Ok(Some(ShardHint::All))) => "a comment says so".to_owned(),
        Plan::Reference(_) => "every shard has what it reads".to_owned(),
        Plan::Default if planned.free => "it reads no table".to_owned(),
        _ => "it is the default one, and the text has no table of a group".to_owned(),
    }
}

/// The parameters that keys stand in.
fn parameters(keyed: &Keyed) -> Vec<String> {
    let among = keyed.roots.iter().flat_map(|root| root.among.iter());
    let numbers = among.flat_map(|one| one.slots.iter()).filter_map(|slot| match slot {
        Slot::Parameter { number, .. } => Some(*number),
        Slot::Null | Slot::Literal { .. } => None,
    });
    let mut numbers: Vec<u16> = numbers.collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.iter().map(|number| format!("${number}")).collect()
}

//! What a client's settings say of where its requests may run.

use std::time::Duration;

use crate::config::read_duration;
use crate::sql::facts::{Hint, Isolation};
use crate::wire::startup::Setting;

/// See the module. Wrong values say what is safest: that the primary is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether its transactions are read only, unless they say otherwise; `None` where it does not
    /// say.
    pub read_only: Option<bool>,
    /// How its transactions are kept apart from others, unless they say otherwise.
    pub isolation: Isolation,
    /// Its commits are flushed later than it is told of them; `None` where it does not say.
    pub lazy: Option<bool>,
    /// `pgweir.role`: where everything is to run that may.
    pub role: Option<Hint>,
    /// `pgweir.max_lag`: how much a replica may lack; the inner `None` is no bound.
    pub max_lag: Option<Option<Duration>>,
    /// `pgweir.causal_token`: what it shares with sessions whose writes it has to see.
    pub token: Option<Box<[u8]>>,
    /// `pgweir.shard`: the shard that everything is for.
    pub shard: Option<Box<[u8]>>,
    /// `pgweir.shard_key`: a key whose shard everything is for.
    pub shard_key: Option<Box<[u8]>>,
    /// `search_path`: the schemas that names are looked up in; `None` where it does not say.
    pub search_path: Option<Box<[u8]>>,
}

impl Manner {
    /// What these settings say, whose names are in lower case.
    pub(super) fn of(settings: &[Setting]) -> Self {
        let (mut manner, mut wrong) = (Self::default(), false);
        for (name, value) in settings {
            match name.as_slice() {
                b"default_transaction_read_only" => manner.read_only = Some(is_on(value)),
                b"default_transaction_isolation" => {
                    // What is none of them, no server takes.
                    manner.isolation = Isolation::read(value).unwrap_or_default();
                }
                b"synchronous_commit" => manner.lazy = Some(is_off(value)),
                b"pgweir.role" => {
                    manner.role = match value.to_ascii_lowercase().as_slice() {
                        b"" | b"auto" => None,
                        b"replica" => Some(Hint::Replica),
                        _ => Some(Hint::Primary),
                    }
                }
                b"pgweir.max_lag" => match read_lag(value) {
                    Ok(lag) => manner.max_lag = lag,
                    Err(()) => wrong = true,
                },
                b"pgweir.causal_token" if !value.is_empty() => {
                    manner.token = Some(value.as_slice().into());
                }
                b"pgweir.shard" if !value.is_empty() => {
                    manner.shard = Some(value.as_slice().into());
                }
                b"pgweir.shard_key" if !value.is_empty() => {
                    manner.shard_key = Some(value.as_slice().into());
                }
                b"search_path" => manner.search_path = Some(value.as_slice().into()),
                _ => {}
            }
        }
        if wrong {
            manner.role = Some(Hint::Primary);
        }
        manner
    }
}

/// Whether a setting that is on or off is on. Postgres takes beginnings of the words, too.
pub fn is_on(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8]| !value.is_empty() && word.starts_with(&value);
    value == b"on" || value == b"1" || begins(b"true") || begins(b"yes")
}

/// The values that are no word of their own mean what they do for other settings.
fn is_off(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8]| !value.is_empty() && word.starts_with(&value);
    value == b"off" || value == b"0" || begins(b"false") || begins(b"no")
}

/// A time; 0 is no bound, and nothing is what the configuration says.
fn read_lag(value: &[u8]) -> Result<Option<Option<Duration>>, ()> {
    let text = std::str::from_utf8(value).map_err(|_no_text| ())?.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let lag = read_duration(text).ok_or(())?;
    Ok(Some((!lag.is_zero()).then_some(lag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manner(settings: &[(&str, &str)]) -> Manner {
        let setting =
            |(name, value): &(&str, &str)| (name.as_bytes().into(), value.as_bytes().into());
        Manner::of(&settings.iter().map(setting).collect::<Vec<_>>())
    }

    #[test]
    fn settings_say_where_requests_may_run() {
        let none = Manner::default();
        let seconds = |seconds| Some(Some(Duration::from_secs(seconds)));
        let replica = Manner { role: Some(Hint::Replica), ..none.clone() };
        let primary = Manner { role: Some(Hint::Primary), ..none.clone() };
        let read_only = Manner { read_only: Some(true), ..none.clone() };
        for (settings, wanted) in [
            (("pgweir.role", "replica"), &replica),
            (("pgweir.role", "Primary"), &primary),
            (("pgweir.role", "auto"), &none),
            (("pgweir.role", ""), &none),
            (("pgweir.max_lag", "5s"), &Manner { max_lag: seconds(5), ..none.clone() }),
            (("pgweir.max_lag", "5"), &Manner { max_lag: seconds(5), ..none.clone() }),
            (("pgweir.max_lag", "0"), &Manner { max_lag: Some(None), ..none.clone() }),
            (("pgweir.max_lag", ""), &none),
            (
                ("pgweir.causal_token", "u1"),
                &Manner { token: Some((*b"u1").into()), ..none.clone() },
            ),
            (("default_transaction_read_only", "ON"), &read_only),
            (("default_transaction_read_only", "t"), &read_only),
            (
                ("default_transaction_read_only", "off"),
                &Manner { read_only: Some(false), ..none.clone() },
            ),
            (
                ("default_transaction_isolation", "Serializable"),
                &Manner { isolation: Isolation::Serializable, ..none.clone() },
            ),
            (("synchronous_commit", "off"), &Manner { lazy: Some(true), ..none.clone() }),
            (("synchronous_commit", "local"), &Manner { lazy: Some(false), ..none.clone() }),
        ] {
            assert_eq!(manner(&[settings]), *wanted, "{settings:?}");
        }
    }

    #[test]
    fn wrong_values_lead_to_the_primary() {
        for wrong in [("pgweir.role", "replcia"), ("pgweir.max_lag", "soon")] {
            assert_eq!(manner(&[wrong]).role, Some(Hint::Primary), "{wrong:?}");
            let both = manner(&[("pgweir.max_lag", "soon"), ("pgweir.role", "replica")]);
            assert_eq!(both.role, Some(Hint::Primary));
        }
    }
}

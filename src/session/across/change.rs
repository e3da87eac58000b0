//! Changes on several shards: in a transaction on each, which are committed when all have run.
//!
//! They run one after the other, in the order of the shards. So two of them never wait for each other's
//! rows in a circle, which no server would see. Whatever fails before the first COMMIT is undone on all.

use std::future::poll_fn;

use super::answer::worded;
use super::leg::{Leg, State};
use super::{Under, Vain};
use crate::client::condition;
use crate::session::Session;
use crate::shard::ShardId;
use crate::shard::merge::Merge;
use crate::wire::request;
use crate::wire::view;

/// What becomes of a COMMIT.
enum Outcome {
    Done,
    /// The body of the error.
    Failed(Box<[u8]>),
    Unknown,
}

impl Session {
    /// Has each of them execute what it has bound, and puts together what comes of that.
    pub(super) async fn change(
        &mut self,
        under: &mut Under,
        merge: &mut Merge,
    ) -> Result<(), Vain> {
        let mut execute = Vec::new();
        request::execute(&mut execute, b"");
        request::sync(&mut execute);
        // What is checked at the end of a transaction is checked before any of them commits.
        request::query(&mut execute, b"SET CONSTRAINTS ALL IMMEDIATE");
        for at in 0..under.legs.len() {
            let Some(leg) = under.legs.get_mut(at) else { break };
            leg.ask(&execute, 2);
            leg.state = State::Runs;
            self.begun(under, at).await?;
        }
        self.merge(under, merge).await
    }

    /// Waits for the first row or the end of a statement: a change has been carried out by then, as Postgres
    /// keeps what RETURNING gives until all of it has run.
    async fn begun(&mut self, under: &mut Under, at: usize) -> Result<(), Vain> {
        loop {
            match under.legs.get(at).and_then(Leg::there) {
                None => self.more_of(under, Some(at)).await?,
                Some(b'N' | b'S' | b'E') => {
                    if under.next(at, |_, _| Ok(()))?.is_none() {
                        self.more_of(under, Some(at)).await?;
                    }
                }
                Some(_) => return Ok(()),
            }
        }
    }

    /// Commits on all of them. From here on its client can't stop it.
    pub(super) async fn commit(&mut self, under: &mut Under) -> Result<(), Vain> {
        under.wrote = true;
        for leg in &mut under.legs {
            leg.query(b"COMMIT");
            leg.inside = false;
        }
        let mut outcomes = Vec::with_capacity(under.legs.len());
        for at in 0..under.legs.len() {
            outcomes.push(outcome(&mut under.legs, at, under.message_max).await);
        }
        self.agreed(under, outcomes)
    }

    /// What is to be told of COMMITs that have ended so.
    fn agreed(&self, under: &Under, outcomes: Vec<Outcome>) -> Result<(), Vain> {
        let named = |which: fn(&Outcome) -> bool| {
            let of = under.legs.iter().zip(&outcomes).filter(|(_, outcome)| which(outcome));
            let names: Vec<&str> = of.map(|(leg, _)| self.shard_name(leg.shard)).collect();
            (!names.is_empty()).then(|| names.join(", "))
        };
        let done = named(|outcome| matches!(outcome, Outcome::Done));
        let failed = named(|outcome| matches!(outcome, Outcome::Failed(_)));
        let unknown = named(|outcome| matches!(outcome, Outcome::Unknown));
        if (&failed, &unknown) == (&None, &None) {
            return Ok(());
        }
        let errors = under.legs.iter().zip(&outcomes).filter_map(|(leg, outcome)| match outcome {
            Outcome::Failed(error) => Some((leg.shard, error)),
            Outcome::Done | Outcome::Unknown => None,
        });
        let first: Option<(ShardId, &Box<[u8]>)> = errors.into_iter().next();
        if let (None, None, Some((shard, error))) = (&done, &unknown, first) {
            return Err(Vain::Said(shard, error.clone()));
        }
        let said = first.map_or_else(String::new, |(_, error)| {
            let message = view::error_field(error, b'M').unwrap_or_default();
            format!(" ({})", String::from_utf8_lossy(message))
        });
        let parts = [
            done.map(|names| format!("committed on {names}")),
            failed.map(|names| format!("failed on {names}{said}")),
            unknown.map(|names| format!("unknown on {names}, where the connection was lost")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let what =
            format!("the COMMIT over several shards came out differently: {}", parts.join("; "));
        Err(Vain::Partly(Box::new(condition::PARTLY_COMMITTED.about(what))))
    }
}

/// Hears a leg out that commits; the others are sent what they are asked meanwhile.
async fn outcome(legs: &mut [Leg], at: usize, message_max: usize) -> Outcome {
    // It counts when the shard is ready again: it may have been lost in the midst of it.
    let mut outcome = Outcome::Unknown;
    loop {
        let Some(leg) = legs.get_mut(at) else { return Outcome::Unknown };
        match leg.next(message_max) {
            Ok(Some((header, body))) => match header.tag {
                // A transaction that has failed is rolled back by it.
                b'C' if worded(body) == "COMMIT" => outcome = Outcome::Done,
                b'E' => outcome = Outcome::Failed(body.into()),
                b'Z' => {
                    leg.state = State::Done;
                    return outcome;
                }
                _ => {}
            },
            Ok(None) => {
                let more = poll_fn(|cx| {
                    legs.iter_mut().for_each(|leg| leg.flush(cx));
                    let at = legs.get_mut(at);
                    at.map_or(std::task::Poll::Ready(Ok(())), |leg| leg.poll_more(cx))
                });
                if more.await.is_err() {
                    return Outcome::Unknown;
                }
            }
            Err(_silent) => return Outcome::Unknown,
        }
    }
}

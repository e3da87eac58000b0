//! Definitions on all shards: run as they are, one shard after the other, with a report of each.

use super::answer::{NONE, tell, worded};
use super::asked::{Asked, Step};
use super::leg::State;
use super::work::Work;
use super::{Under, Vain};
use crate::client::condition;
use crate::session::Session;
use crate::shard::ShardId;
use crate::sql::fan::Defining;
use crate::wire::reply;
use crate::wire::view;

impl Session {
    /// Runs them.
    pub(super) async fn define(
        &mut self,
        asked: &Asked,
        work: &Work,
        how: Defining,
        under: &mut Under,
    ) -> Result<(), Vain> {
        let tags = match how {
            Defining::Together => {
                self.bind_all(asked, work, under).await?;
                under.bound = true;
                let mut all = Vec::new();
                for at in 0..under.legs.len() {
                    all.push(self.defined(work, under, at).await?);
                }
                self.commit(under).await?;
                all
            }
            Defining::Alone => self.alone(asked, work, under).await?,
        };
        tell_all(asked, under, |under| {
            self.report(under, &tags);
            for tag in tags.first().map_or(&[][..], |(_, tags)| tags) {
                reply::command_complete(&mut under.out, tag);
            }
        });
        Ok(())
    }

    /// By themselves: what has been done stays done.
    async fn alone(
        &mut self,
        asked: &Asked,
        work: &Work,
        under: &mut Under,
    ) -> Result<Vec<(ShardId, Vec<String>)>, Vain> {
        let mut all = Vec::new();
        for shard in work.shards.iter() {
            let leg = self.begin_leg(asked, work, shard).map_err(|vain| {
                let vain = match vain {
                    Vain::Lost(_) if !all.is_empty() => {
                        let what = "no connection was to be had within the process";
                        Vain::Refused(Box::new(condition::SHARD_LOST.about(what)))
                    }
                    vain => vain,
                };
                self.stopped(vain, &all, work, shard)
            })?;
            under.legs.push(leg);
            under.wrote = true;
            match self.defined(work, under, 0).await {
                Ok(tags) => all.push(tags),
                Err(Vain::End(end)) => {
                    // Its end is told, and what was done before it.
                    self.report(under, &all);
                    return Err(Vain::End(end));
                }
                Err(vain) => return Err(self.stopped(vain, &all, work, shard)),
            }
            Under::put_away(under.legs.drain(..), &self.tenancy.house.cancels);
        }
        Ok(all)
    }

    /// Runs them on one; the tags that it gives.
    async fn defined(
        &mut self,
        work: &Work,
        under: &mut Under,
        at: usize,
    ) -> Result<(ShardId, Vec<String>), Vain> {
        let Some(leg) = under.legs.get_mut(at) else { return Err(Vain::Lost(ShardId(0))) };
        let shard = leg.shard;
        leg.query(work.text());
        leg.state = State::Runs;
        let mut tags = Vec::new();
        loop {
            let heard = under.next(at, |tag, body| {
                tags.extend((tag == b'C').then(|| worded(body)));
                Ok(())
            })?;
            match heard {
                Some((leg, b'Z')) if leg.is_ready() => {
                    leg.state = State::Done;
                    return Ok((shard, tags));
                }
                Some(_) => {}
                None => self.more_of(under, Some(at)).await?,
            }
        }
    }

    /// It has failed on a shard, and others have run it already.
    fn stopped(
        &self,
        vain: Vain,
        done: &[(ShardId, Vec<String>)],
        work: &Work,
        on: ShardId,
    ) -> Vain {
        let why = match &vain {
            _ if done.is_empty() => return vain,
            Vain::Said(_, error) if view::error_field(error, b'V') != Some(b"ERROR") => {
                let said = view::error_field(error, b'M').unwrap_or_default();
                format!("{} (its outcome there is unknown)", String::from_utf8_lossy(said))
            }
            Vain::Said(_, error) => {
                String::from_utf8_lossy(view::error_field(error, b'M').unwrap_or_default()).into()
            }
            Vain::Cancelled => "it was cancelled".to_owned(),
            Vain::Lost(_) => "the connection was lost, so its outcome there is unknown".to_owned(),
            Vain::Otherwise(_, what) => {
                format!("it has another {what}, so its outcome there is unknown")
            }
            Vain::Refused(report) => report.message.clone(),
            Vain::End(_) | Vain::Partly(_) => return vain,
        };
        let names = |shards: &mut dyn Iterator<Item = ShardId>| {
            shards.map(|shard| self.shard_name(shard)).collect::<Vec<_>>().join(", ")
        };
        let ran = names(&mut done.iter().map(|(shard, _)| *shard));
        let left = names(&mut work.shards.iter().filter(|shard| shard.0 > on.0));
        let left = if left.is_empty() { left } else { format!("; it was not tried on {left}") };
        let what =
            format!("it was done on {ran}, and failed on {}: {why}{left}", self.shard_name(on));
        Vain::Partly(Box::new(condition::PARTLY_DEFINED.about(what)))
    }

    /// Tells what each shard has done.
    fn report(&self, under: &mut Under, tags: &[(ShardId, Vec<String>)]) {
        for (shard, tags) in tags {
            let what = format!("{}: {}", self.shard_name(*shard), tags.join(", "));
            condition::ON_SHARD.about(what).write(&mut under.out);
        }
    }
}

/// Answers the messages of a request without parameters and rows, but for its Execute.
pub(super) fn tell_all(asked: &Asked, under: &mut Under, executed: impl Fn(&mut Under)) {
    for step in &asked.steps {
        match step {
            Step::Rows => executed(under),
            step => tell(*step, asked.is_query, (&NONE, &[]), &mut under.out),
        }
    }
}

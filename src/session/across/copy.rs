//! `COPY … FROM STDIN` over several shards: each row goes to its shard as it comes.
//!
//! Nothing is kept but what is on its way: where a shard does not take what it is sent, its client is
//! not read any further.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::answer::sum;
use super::asked::Asked;
use super::define::tell_all;
use super::leg::{Leg, State};
use super::work::{Splitting, Work};
use super::{Under, Vain};
use crate::client::condition;
use crate::session::shards::refused;
use crate::session::{ClientFault, End, Session};
use crate::shard::copy::{Fault, Field, Part};
use crate::shard::{Format, NoShard, ShardId, Sharding};
use crate::wire::frame::{self, HEADER_LEN, Header};
use crate::wire::reply;
use crate::wire::request;

/// A shard that has so much to take is waited for, in bytes.
const AHEAD: usize = 256 * 1024;
/// So much is put into a message, in bytes.
const CHUNK: usize = 32 * 1024;

/// Rows on their way to the shards.
struct Copying<'w> {
    splitting: &'w mut Splitting,
    sharding: Arc<Sharding>,
    /// What each leg is sent next.
    parts: Vec<Vec<u8>>,
    /// The number of each shard's leg.
    at: Vec<Option<usize>>,
    message_max: u32,
    /// There are no more.
    done: bool,
}

/// Why rows do not go on.
enum Stuck {
    Rows(Fault),
    Key(NoShard, u64),
}

impl From<Fault> for Stuck {
    fn from(fault: Fault) -> Self {
        Self::Rows(fault)
    }
}

impl Session {
    /// Runs it.
    pub(super) async fn copy(
        &mut self,
        asked: &Asked,
        work: &Work,
        splitting: &mut Splitting,
        under: &mut Under,
    ) -> Result<(), Vain> {
        self.bind_all(asked, work, under).await?;
        under.bound = true;
        let mut begun: Option<Vec<u8>> = None;
        // One after the other: so it waits for a lock of a definition where that has begun.
        for at in 0..under.legs.len() {
            let Some(leg) = under.legs.get_mut(at) else { break };
            leg.query(work.text());
            leg.state = State::Copies;
            let body = self.body_of(under, at, b'G').await?;
            if begun.get_or_insert_with(|| body.clone()) != &body {
                return Err(Vain::Refused(Box::new(condition::SHARDS_DIFFER.report())));
            }
        }
        tell_all(asked, under, |under| {
            reply::raw(&mut under.out, b'G', &[begun.as_deref().unwrap_or_default()]);
        });
        (under.sync_follows, under.rows) = (!asked.is_query, true);
        self.pass_rows(splitting, under).await?;
        for leg in &mut under.legs {
            let mut done = Vec::new();
            reply::raw(&mut done, b'c', &[]);
            request::query(&mut done, b"SET CONSTRAINTS ALL IMMEDIATE");
            leg.ask(&done, 1);
            leg.state = State::Runs;
        }
        for at in 0..under.legs.len() {
            let tag = self.body_of(under, at, b'C').await?;
            if let Some(leg) = under.legs.get_mut(at) {
                (leg.tag, leg.state) = (tag, State::Ended);
            }
            self.finish_leg(under, at).await?;
        }
        let tag = sum(under.legs.iter().map(|leg| &*leg.tag))
            .ok_or_else(|| Vain::Refused(Box::new(condition::SHARDS_DIFFER.report())))?;
        self.commit(under).await?;
        reply::command_complete(&mut under.out, &tag);
        Ok(())
    }

    /// Passes the client's rows on to their end.
    async fn pass_rows(
        &mut self,
        splitting: &mut Splitting,
        under: &mut Under,
    ) -> Result<(), Vain> {
        let Some(sharded) = self.sharded() else { return Err(Vain::Refused(super::changed())) };
        let layout = sharded.layout();
        let known = sharded.known_of(layout.sharding.default_shard());
        let of = |shard: u8| under.legs.iter().position(|leg| leg.shard == ShardId(shard));
        let mut copying = Copying {
            splitting,
            sharding: layout.typed(known.as_deref()),
            parts: vec![Vec::new(); under.legs.len()],
            at: (0..=u8::MAX).map(of).collect(),
            message_max: self.tenancy.terms.message_max,
            done: false,
        };
        loop {
            let mut inbox = std::mem::take(&mut self.client.inbox);
            let mut passed = Ok(());
            let kept = inbox.join(&[], |held| {
                let mut used = 0;
                passed = copying.pass(held, &mut used, under);
                Ok::<_, End>(used)
            });
            self.client.inbox = inbox;
            kept?;
            passed?;
            if copying.done {
                return Ok(());
            }
            self.more_rows(under).await?;
            for at in 0..under.legs.len() {
                while under.next(at, |_, _| Ok(()))?.is_some() {}
            }
        }
    }

    /// Waits until more rows have come and may go on, or a leg says something.
    async fn more_rows(&mut self, under: &mut Under) -> Result<(), Vain> {
        let (before, waits) = (self.client.inbox.len(), under.is_behind());
        let message_max = under.message_max;
        poll_fn(|cx| {
            if !self.tells(under, cx)? {
                return Poll::Pending;
            }
            let mut goes_on = !waits && self.client.inbox.len() > before;
            for leg in &mut under.legs {
                leg.flush(cx);
                if let Poll::Ready(more) = leg.poll_more(cx) {
                    more.map_err(|silent| Vain::silent(leg.shard, silent, message_max))?;
                    goes_on = true;
                }
            }
            match goes_on || waits && !under.is_behind() {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }
}

impl Under {
    /// A leg has not taken what it was sent.
    fn is_behind(&self) -> bool {
        self.legs.iter().any(|leg| leg.unsent() > AHEAD)
    }
}

impl Copying<'_> {
    /// Takes messages that have come, as far as legs take what is in them; `used` is how many bytes.
    fn pass(&mut self, held: &[u8], used: &mut usize, under: &mut Under) -> Result<(), Vain> {
        while !self.done && !under.is_behind() {
            let rest = held.get(*used..).unwrap_or_default();
            if under.left > 0 {
                let count = rest.len().min(under.left).min(CHUNK);
                if count == 0 {
                    break;
                }
                *used += count;
                under.left -= count;
                self.split(rest.get(..count), under)?;
                continue;
            }
            let header = frame::header(rest, self.message_max).map_err(ClientFault::from);
            let Some(header) = header.map_err(End::from)? else { break };
            match header.tag {
                b'd' => {
                    *used += HEADER_LEN;
                    under.left = header.body_len;
                }
                b'c' => {
                    *used += HEADER_LEN;
                    under.left = header.body_len;
                    (self.done, under.rows) = (true, false);
                    self.split(None, under)?;
                }
                b'f' if header.body_len > CHUNK => {
                    return Err(self.strange(header, used, under));
                }
                b'f' => {
                    let Some(body) = rest.get(HEADER_LEN..header.message_len()) else { break };
                    *used += header.message_len();
                    under.rows = false;
                    let why = String::from_utf8_lossy(body.split_last().map_or(body, |(_, it)| it));
                    return Err(Vain::Refused(Box::new(condition::COPY_FAILED.about(why))));
                }
                // As on a server.
                b'H' | b'S' if header.body_len == 0 => *used += HEADER_LEN,
                _ => return Err(self.strange(header, used, under)),
            }
        }
        Ok(())
    }

    /// A message that has no place there.
    fn strange(&self, header: Header, used: &mut usize, under: &mut Under) -> Vain {
        if header.tag == b'X' {
            return End::Goodbye.into();
        }
        *used += HEADER_LEN;
        under.left = header.body_len;
        let what = format!("0x{:02X}", header.tag);
        Vain::Refused(Box::new(condition::COPY_MESSAGE.about(what)))
    }

    /// Splits what has come, or what is left when no more comes.
    fn split(&mut self, bytes: Option<&[u8]>, under: &mut Under) -> Result<(), Vain> {
        let Self { splitting, sharding, parts, at, .. } = self;
        let (group, rows) = (splitting.group, &mut splitting.rows);
        let each = |part: Part<'_>| {
            match part {
                Part::All(bytes) => parts.iter_mut().for_each(|part| part.extend(bytes)),
                Part::Row { bytes, key, line } => {
                    let (format, key) = match &key {
                        Field::Null => (Format::Text, None),
                        Field::Text(text) => (Format::Text, Some(&**text)),
                        Field::Binary(value) => (Format::Binary, Some(*value)),
                    };
                    let shard = sharding.of_field(group, format, key);
                    let shard = shard.map_err(|why| Stuck::Key(why, line))?;
                    let leg = at.get(usize::from(shard.0)).copied().flatten();
                    let part = leg.and_then(|leg| parts.get_mut(leg));
                    let nowhere = Stuck::Key(NoShard::Encoding, line);
                    part.ok_or(nowhere)?.extend_from_slice(bytes);
                }
            }
            Ok(())
        };
        let split = match bytes {
            Some(bytes) => rows.feed(bytes, each),
            None => rows.finish(each),
        };
        split.map_err(Stuck::told)?;
        let ends = bytes.is_none();
        for (part, leg) in parts.iter_mut().zip(&mut under.legs) {
            if part.len() >= CHUNK || ends && !part.is_empty() {
                leg.rows(part);
                part.clear();
            }
        }
        Ok(())
    }
}

impl Stuck {
    fn told(self) -> Vain {
        let report = match self {
            Self::Rows(fault @ Fault::TooLong(_)) => condition::FAN_OUT_BUFFER.about(fault),
            Self::Rows(fault @ Fault::Malformed { .. }) => condition::COPY_FORMAT.about(fault),
            Self::Rows(fault @ Fault::Doubtful { .. }) => {
                *refused(fault, "Write it in another way.")
            }
            Self::Key(why, line) => *refused(format!("line {line} of COPY: {why}"), ""),
        };
        Vain::Refused(Box::new(report))
    }
}

impl Leg {
    /// Sends rows.
    fn rows(&mut self, rows: &[u8]) {
        let mut message = Vec::with_capacity(HEADER_LEN + rows.len());
        reply::raw(&mut message, b'd', &[rows]);
        self.ask(&message, 0);
    }
}

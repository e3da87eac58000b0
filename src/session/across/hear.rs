//! Hearing the legs of a request, and its client meanwhile.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::{Instant, timeout_at};

use super::leg::{Leg, Silent, State};
use super::{CHUNK, Under, Vain, faulty};
use crate::session::{End, Session};
use crate::shard::ShardId;
use crate::shard::merge::{Fault, Merge, Step};
use crate::wire::reply;
use crate::wire::view;

/// Settings that rows are written and read by.
const OF_ROWS: [&[u8]; 7] = [
    b"client_encoding",
    b"server_encoding",
    b"TimeZone",
    b"DateStyle",
    b"IntervalStyle",
    b"integer_datetimes",
    b"standard_conforming_strings",
];

impl Under {
    /// Feeds the next row of a leg, or of any, or its end; whether there was one.
    fn take_row(&mut self, at: Option<usize>, merge: &mut Merge) -> Result<bool, Vain> {
        for number in 0..self.legs.len() {
            let runs = self.legs.get(number).is_some_and(|leg| leg.state == State::Runs);
            if !runs || at.is_some_and(|at| at != number) {
                continue;
            }
            let mut done = None;
            while let Some((leg, tag)) = self.next(number, |tag, body| match tag {
                b'D' => merge.feed(number, body).map_err(faulty),
                b'C' => {
                    done = Some(body.to_vec());
                    Ok(())
                }
                _ => Ok(()),
            })? {
                if tag == b'C' {
                    leg.tag = done.take().unwrap_or_default();
                    leg.state = State::Ended;
                    merge.end(number).map_err(faulty)?;
                }
                if matches!(tag, b'C' | b'D') {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The next message of a leg that has come: its type, and what there is to be done with it.
    pub(super) fn next(
        &mut self,
        at: usize,
        heard: impl FnOnce(u8, &[u8]) -> Result<(), Vain>,
    ) -> Result<Option<(&mut Leg, u8)>, Vain> {
        let Self { legs, out, message_max, .. } = self;
        let Some(leg) = legs.get_mut(at) else { return Ok(None) };
        let (shard, max) = (leg.shard, *message_max);
        let silent = |silent| Vain::silent(shard, silent, max);
        let Some((header, body)) = leg.next(max).map_err(silent)? else { return Ok(None) };
        match header.tag {
            b'E' => {
                let error = body.into();
                leg.fails();
                return Err(Vain::Said(shard, error));
            }
            b'N' => reply::raw(out, b'N', &[body]),
            b'S' => {
                // It tells of what is otherwise there than the client knows it to be.
                let name = view::parameter_status(body).map_or(&b""[..], |(name, _)| name);
                if OF_ROWS.contains(&name) {
                    return Err(Vain::Otherwise(shard, String::from_utf8_lossy(name).into()));
                }
            }
            tag => heard(tag, body)?,
        }
        Ok(Some((leg, header.tag)))
    }
}

impl Vain {
    pub(super) fn silent(shard: ShardId, silent: Silent, max: usize) -> Self {
        match silent {
            Silent::Lost => Self::Lost(shard),
            Silent::TooLong => faulty(Fault::TooLarge(max)),
        }
    }
}

impl Session {
    /// Hears a leg out to where its statement is bound; `false` if it takes longer than until then.
    pub(super) async fn bind_leg(
        &mut self,
        under: &mut Under,
        at: usize,
        until: Option<Instant>,
    ) -> Result<bool, Vain> {
        loop {
            let (mut parameters, mut columns) = (None, None);
            while let Some((leg, tag)) = under.next(at, |tag, body| {
                match tag {
                    b't' => parameters = Some(body.to_vec()),
                    b'T' => columns = Some(body.to_vec()),
                    _ => {}
                }
                Ok(())
            })? {
                // What comes first is of the whole.
                if let Some(parameters) = parameters.take().filter(|_| leg.parameters.is_empty()) {
                    leg.parameters = parameters;
                }
                match tag {
                    b'2' => leg.state = State::Bound,
                    // That before is of the statement.
                    b'T' if leg.state == State::Bound => {
                        leg.columns = columns.take().unwrap_or_default();
                        return Ok(true);
                    }
                    b'n' if leg.state == State::Bound => return Ok(true),
                    b'Z' if leg.state == State::Begins && leg.is_ready() => {
                        leg.state = State::Bound;
                        return Ok(true);
                    }
                    _ => {}
                }
            }
            let more = self.more_of(under, Some(at));
            match until {
                None => more.await?,
                Some(until) => match timeout_at(until, more).await {
                    Ok(more) => more?,
                    Err(_elapsed) => return Ok(false),
                },
            }
        }
    }

    /// Puts the rows of all legs together, and hears these out.
    pub(super) async fn merge(&mut self, under: &mut Under, merge: &mut Merge) -> Result<(), Vain> {
        loop {
            if under.out.len() >= CHUNK {
                self.send_across(under).await?;
            }
            let at = match merge.step().map_err(faulty)? {
                Step::Row(row) => {
                    if !under.shown {
                        under.show();
                    }
                    row.write(&mut under.out);
                    continue;
                }
                Step::Need(at) => Some(at),
                Step::NeedAny => None,
                Step::Done => break,
            };
            while !under.take_row(at, merge)? {
                self.more_of(under, at).await?;
            }
        }
        for at in 0..under.legs.len() {
            self.finish_leg(under, at).await?;
        }
        Ok(())
    }

    /// The body of the next message of this type that a leg sends.
    pub(super) async fn body_of(
        &mut self,
        under: &mut Under,
        at: usize,
        wanted: u8,
    ) -> Result<Vec<u8>, Vain> {
        let mut found = Vec::new();
        loop {
            let heard = under.next(at, |tag, body| {
                if tag == wanted {
                    found.extend_from_slice(body);
                }
                Ok(())
            })?;
            match heard {
                Some((_, tag)) if tag == wanted => return Ok(found),
                Some(_) => {}
                None => self.more_of(under, Some(at)).await?,
            }
        }
    }

    /// Hears a leg out to its ReadyForQuery, unless it has more rows, which nobody wants.
    pub(super) async fn finish_leg(&mut self, under: &mut Under, at: usize) -> Result<(), Vain> {
        while under.legs.get(at).is_some_and(|leg| leg.state == State::Ended) {
            match under.next(at, |_, _| Ok(()))? {
                Some((leg, b'Z')) if leg.is_ready() => leg.state = State::Done,
                Some(_) => {}
                None => self.more_of(under, Some(at)).await?,
            }
        }
        Ok(())
    }

    /// Waits until more has come from a leg, or from any; the others are sent what they are asked
    /// meanwhile.
    pub(super) async fn more_of(
        &mut self,
        under: &mut Under,
        at: Option<usize>,
    ) -> Result<(), Vain> {
        poll_fn(|cx| {
            if !self.tells(under, cx)? {
                return Poll::Pending;
            }
            let (max, mut come) = (under.message_max, Poll::Pending);
            for (number, leg) in under.legs.iter_mut().enumerate() {
                leg.flush(cx);
                let is_wanted = at.map_or(leg.state == State::Runs, |at| at == number);
                if is_wanted && let Poll::Ready(more) = leg.poll_more(cx) {
                    more.map_err(|silent| Vain::silent(leg.shard, silent, max))?;
                    come = Poll::Ready(Ok(()));
                }
            }
            come
        })
        .await
    }

    /// Sees to the client, and sends it what there is for it; whether it has taken so much of that that more may
    /// be heard.
    pub(super) fn tells(&mut self, under: &mut Under, cx: &mut Context<'_>) -> Result<bool, Vain> {
        loop {
            if self.client.outbox.is_empty() && !under.out.is_empty() {
                self.client.outbox.push(&under.out);
                under.out.clear();
            }
            self.poll_client(cx)?;
            if under.out.len() < CHUNK {
                return Ok(true);
            }
            if !self.client.outbox.is_empty() {
                return Ok(false);
            }
        }
    }

    /// Sends the client what there is for it, and waits until it has taken it.
    pub(super) async fn send_across(&mut self, under: &mut Under) -> Result<(), Vain> {
        self.client.outbox.push(&under.out);
        under.out.clear();
        poll_fn(|cx| {
            self.poll_client(cx)?;
            match self.client.outbox.is_empty() {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Sees to the client while its request is under way: it may leave, cancel, or send more.
    pub(super) fn poll_client(&mut self, cx: &mut Context<'_>) -> Result<(), Vain> {
        self.seat.attend(cx.waker());
        self.may_wait()?;
        if self.seat.poll_cancelled(cx).is_ready() {
            return Err(Vain::Cancelled);
        }
        match self.client.meanwhile(cx)? {
            true => Ok(()),
            false => Err(End::ClientGone.into()),
        }
    }
}

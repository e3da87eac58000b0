//! What a request has cost: told of its text, for the log and for the console.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Tenancy;
use super::terms::QueryCosts;
use crate::complaints::{short, shown};
use crate::net::loops::LoopId;
use crate::sql::fingerprint;
use crate::traffic::{Cost, Distribution, OTHERS, Role};

/// How a request went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Went {
    #[default]
    Well,
    Wrong,
}

/// What a request begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Text {
    /// This; its start, where it is long.
    Known(Arc<[u8]>),
    /// No text: it runs none, or what was bound before.
    #[default]
    None,
    /// One that was not kept, as there are too many under way.
    Unkept,
}

impl Text {
    /// This text, or its start.
    pub(super) fn of(text: &[u8]) -> Self {
        Self::Known(text.get(..text.len().min(TEXT_TOLD)).unwrap_or_default().into())
    }
}

/// The requests of a client that its server has not answered yet, where somebody wants to know what
/// they cost: each has its own text, and goes well or wrong by itself.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// What the request that is being sent begins with.
    begins: Option<Arc<[u8]>>,
    /// The oldest. One is usually all there is, and takes no more memory than this.
    first: Option<Sent>,
    more: VecDeque<Sent>,
    /// So many of these, the oldest, are over or never will be.
    settled: usize,
    /// What the texts of these take; the same text again takes nothing.
    bytes: usize,
    /// Of the request whose answer is being read.
    went: Went,
}

#[derive(Debug)]
struct Sent {
    /// The number of the message that ends it.
    sequence: u64,
    text: Text,
    /// How it went; not known of one that is under way, or was never answered.
    over: Option<Went>,
}

/// What is kept of a text.
const TEXT_TOLD: usize = 4096;
/// What texts of requests under way may take together.
const BYTES_MAX: usize = 64 * 1024;
/// Stands for requests that begin with no text.
const NO_TEXT: &str = "(no text)";

impl Requests {
    /// The request that is being sent begins with this text, if with none before.
    #[inline]
    pub(super) fn begin(&mut self, text: &[u8]) {
        if self.begins.is_none() {
            let start = text.get(..text.len().min(TEXT_TOLD)).unwrap_or_default();
            let last = self.more.back().or(self.first.as_ref());
            self.begins = Some(match last.map(|sent| &sent.text) {
                Some(Text::Known(same)) if **same == *start => Arc::clone(same),
                _ => start.into(),
            });
        }
    }

    /// The request that was being sent is answered without the server.
    pub(super) fn skip(&mut self) {
        self.begins = None;
    }

    /// The request that was being sent ends with the message of this number.
    pub(super) fn sent(&mut self, sequence: u64) {
        let text = self.begins.take().map_or(Text::None, Text::Known);
        let mut sent = Sent { sequence, text, over: None };
        if self.first.is_none() {
            self.first = Some(sent);
            return;
        }
        if let Text::Known(text) = &sent.text
            && is_the_only(text)
        {
            match self.bytes + text.len() {
                bytes if bytes > BYTES_MAX => sent.text = Text::Unkept,
                bytes => self.bytes = bytes,
            }
        }
        self.more.push_back(sent);
    }

    /// Something of the request whose answer is being read has failed.
    pub(super) fn failed(&mut self) {
        self.went = Went::Wrong;
    }

    /// What was sent is sent once more, here or elsewhere: it was as good as never sent.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The request that ends with the message of this number has been answered. Those before it that
    /// were not, never will be: a COPY has swallowed their ends.
    pub(super) fn answered(&mut self, sequence: u64) {
        let went = std::mem::take(&mut self.went);
        while let Some(sent) = match self.settled {
            0 => self.first.as_mut(),
            settled => self.more.get_mut(settled - 1),
        } {
            if sent.sequence > sequence {
                return;
            }
            self.settled += 1;
            if sent.sequence == sequence {
                sent.over = Some(went);
                return;
            }
        }
    }

    /// The oldest that is over.
    pub(super) fn take_over(&mut self) -> Option<(Text, Went)> {
        while let Some(left) = self.settled.checked_sub(1) {
            self.settled = left;
            let Sent { text, over, .. } = self.pop()?;
            if let Some(went) = over {
                return Some((text, went));
            }
        }
        None
    }

    fn pop(&mut self) -> Option<Sent> {
        let next = self.more.pop_front();
        self.bytes = match next.as_ref().map(|sent| &sent.text) {
            _ if self.more.is_empty() => 0,
            Some(Text::Known(text)) if is_the_only(text) => self.bytes.saturating_sub(text.len()),
            _ => self.bytes,
        };
        std::mem::replace(&mut self.first, next)
    }
}

fn is_the_only(text: &Arc<[u8]>) -> bool {
    Arc::strong_count(text) == 1
}

impl Tenancy {
    /// A request that began with this text has been answered by such a server. Values in it are told
    /// to nobody.
    pub(super) fn note_cost(&self, text: &Text, times: Times, by: (Went, Role, u32), on: LoopId) {
        let Self { terms, house, login, .. } = self;
        let (Times { waited, ran }, (went, role, client)) = (times, by);
        let form = || match text {
            Text::Known(text) => fingerprint(text),
            Text::None => NO_TEXT.to_owned(),
            Text::Unkept => OTHERS.to_owned(),
        };
        let is_slow = terms.log_min_duration.is_some_and(|min| waited + ran >= min);
        if is_slow {
            let (user, database) = (shown(&login.user), shown(&login.database));
            let kind = format!("slow statement (user {user}, database {database}): {}", form());
            let [waited, ran] = [waited, ran].map(|time| time.as_secs_f64() * 1000.0);
            house.complaints.complain_by(&kind, || {
                let seat = house.cancels.find(client);
                let card = seat.as_ref().map(|seat| seat.card());
                tracing::warn!(
                    user = login.user,
                    database = login.database,
                    client,
                    application_name = card.and_then(|card| card.application_name.as_deref()),
                    addr = card.map(|card| tracing::field::display(card.peer)),
                    statement = short(&form()),
                    waited_ms = tenths(waited),
                    ran_ms = tenths(ran),
                    "{} (waited {waited:.1} ms, ran {ran:.1} ms)",
                    short(&kind),
                );
            });
        }
        if terms.query_costs == QueryCosts::Counted {
            let errors = u64::from(went == Went::Wrong);
            let on_replicas = u64::from(role == Role::Replica);
            let cost = Cost { calls: 1, errors, on_replicas, ran: Distribution::of(ran), waited };
            house.queries.add(on.index(), &login.database, form(), &cost);
        }
    }
}

/// As the words have it.
fn tenths(millis: f64) -> f64 {
    (millis * 10.0).round() / 10.0
}

/// How long a request took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    /// Until it had a server.
    pub(super) waited: Duration,
    /// While the server was at work for it.
    pub(super) ran: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Text {
        Text::Known(text.as_bytes().into())
    }

    fn sent(requests: &mut Requests, text: &str, sequence: u64) {
        requests.begin(text.as_bytes());
        requests.sent(sequence);
    }

    #[test]
    fn each_request_has_its_own_text_and_its_own_error() {
        let mut requests = Requests::default();
        sent(&mut requests, "a", 1);
        requests.begin(b"b");
        requests.begin(b"not its start");
        requests.sent(4);
        requests.sent(5);
        requests.begin(b"answered by us");
        requests.skip();
        sent(&mut requests, "c", 9);
        assert_eq!(requests.take_over(), None);
        requests.answered(1);
        requests.failed();
        requests.answered(4);
        assert_eq!(requests.take_over(), Some((known("a"), Went::Well)));
        assert_eq!(requests.take_over(), Some((known("b"), Went::Wrong)));
        assert_eq!(requests.take_over(), None);
        requests.answered(5);
        requests.answered(9);
        assert_eq!(requests.take_over(), Some((Text::None, Went::Well)));
        assert_eq!(requests.take_over(), Some((known("c"), Went::Well)));
        assert_eq!(requests.take_over(), None);
    }

    #[test]
    fn request_whose_end_was_swallowed_is_none() {
        let mut requests = Requests::default();
        for (text, sequence) in [("a", 1), ("swallowed", 2), ("b", 3)] {
            sent(&mut requests, text, sequence);
        }
        requests.answered(1);
        requests.answered(3);
        assert_eq!(requests.take_over(), Some((known("a"), Went::Well)));
        assert_eq!(requests.take_over(), Some((known("b"), Went::Well)));
        assert_eq!(requests.take_over(), None);
        // Nobody has told of this one.
        requests.answered(7);
        assert_eq!(requests.take_over(), None);
    }

    #[test]
    fn texts_under_way_are_bounded_and_the_same_again_costs_nothing() {
        let mut requests = Requests::default();
        let text = |number: u64| format!("{number}{}", "x".repeat(TEXT_TOLD));
        for sequence in 0..1000 {
            sent(&mut requests, &text(sequence / 500), sequence);
        }
        assert!(requests.more.iter().all(|sent| sent.text != Text::Unkept));
        for sequence in 1000..2000 {
            sent(&mut requests, &text(sequence), sequence);
        }
        let kept = requests.more.iter().filter(|sent| sent.text != Text::Unkept).count();
        assert!(kept < 1000 + BYTES_MAX / TEXT_TOLD, "{kept}");
        (0..2000).for_each(|sequence| requests.answered(sequence));
        assert_eq!(std::iter::from_fn(|| requests.take_over()).count(), 2000);
        assert_eq!(requests.bytes, 0);
    }
}

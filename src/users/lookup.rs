//! Secrets that are looked up in a database (`auth_query`).
//!
//! A [`Source`] is one database to ask, as one user, in one way. Its connections are its own: no
//! client ever gets one, and nothing that a client has sent is set on them; the user's name is a
//! parameter of the query. Who asks for a user whom somebody is asking for already waits for that
//! answer. Connections, questions in line and answers kept are bounded; each question has a
//! deadline.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::Known;
use crate::auth::{Md5Mock, Mock, StoredSecret, UserSecret};
use crate::complaints::{Complaints, shown};
use crate::config::General;
use crate::net::socket::Address;
use crate::server::ask::{AskError, Asker};
use crate::server::connect::Target;

/// The longest name of a role on a server; a longer one is nobody's.
const NAME_LEN_MAX: usize = 63;
/// Questions in each line; who asks beyond that is told that it is not possible now.
const LINE_MAX: usize = 1000;
/// A connection without a question is closed after this.
const IDLE: Duration = Duration::from_secs(30);
/// What a connection starts with. Names in the query mean what they say, whatever a role or
/// database has been set to.
const SETTINGS: [(&[u8], &[u8]); 3] = [
    (b"search_path", b""),
    (b"client_encoding", b"UTF8"),
    (b"application_name", b"pgweir auth_query"),
];

/// Nobody could be asked; the log says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered;

/// What came of a question.
type Answer = Result<Arc<Known>, Unanswered>;

/// Whether an answer was asked for just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    Fresh,
    Kept,
}

/// Where secrets are looked up.
#[derive(Debug)]
pub(super) struct Source {
    /// The database that is asked, as the configuration calls it.
    place: String,
    target: Target,
    /// Where its primary is now.
    address: Mutex<Address>,
    query: String,
    limit: Duration,
    keep: Duration,
    connections_max: usize,
    answers_max: usize,
    mock: Mock,
    complaints: Arc<Complaints>,
    desk: Mutex<Desk>,
    called: Notify,
}

/// The books of a source.
#[derive(Debug, Default)]
struct Desk {
    answers: HashMap<String, Entry>,
    /// About users who were there when they were asked for last: their questions come first.
    line: VecDeque<Question>,
    /// About anybody else: whoever is not logged in may ask for any name.
    strangers: VecDeque<Question>,
    workers: usize,
    idle: usize,
    /// What the user was asked for under md5 who was found last.
    under_md5: Option<Md5Mock>,
}

#[derive(Debug)]
enum Entry {
    /// Somebody is asking; the answer will come here.
    Asked(watch::Receiver<Option<Answer>>),
    /// It is good until that moment.
    Kept(Arc<Known>, Instant),
}

#[derive(Debug)]
struct Question {
    user: String,
    answer: watch::Sender<Option<Answer>>,
    /// What was answered before: a secret that has not changed is the same value.
    before: Option<Arc<Known>>,
}

impl Source {
    pub(super) fn new(
        place: &str,
        target: Target,
        query: String,
        general: &General,
        mock: Mock,
        complaints: Arc<Complaints>,
    ) -> Self {
        Self {
            place: place.to_owned(),
            address: Mutex::new(target.address.clone()),
            target,
            query,
            limit: general.auth_query_timeout,
            keep: general.auth_cache_time.unwrap_or_default(),
            connections_max: general.auth_query_connections,
            answers_max: general.auth_cache_size,
            mock,
            complaints,
            desk: Mutex::default(),
            called: Notify::new(),
        }
    }

    /// The database that is asked, as the configuration calls it.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Its primary is here from now on.
    pub(super) fn turn(&self, address: &Address) {
        address.clone_into(&mut self.address.lock());
    }

    /// Whether another source would be asked in the same way.
    pub(super) fn is_same(&self, place: &str, target: &Target, query: &str) -> bool {
        let Self { place: own_place, target: own, query: own_query, .. } = self;
        // Its primary is followed under that name.
        own_place == place
            && own.address == target.address
            && own.user == target.user
            && own.database == target.database
            && own_query == query
    }

    /// Whether this one may go on in place of `wanted`.
    pub(super) fn is_unchanged(&self, wanted: &Self) -> bool {
        let Self { place, target, query, limit, keep, connections_max, answers_max, .. } = self;
        let same_secret = match (&target.secret, &wanted.target.secret) {
            (Some(own), Some(other)) => own.is_same(other),
            (None, None) => true,
            _ => false,
        };
        let same_tls = match (&target.tls, &wanted.target.tls) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        };
        let same_limits = *limit == wanted.limit
            && *keep == wanted.keep
            && *connections_max == wanted.connections_max
            && *answers_max == wanted.answers_max;
        wanted.is_same(place, target, query) && same_secret && same_tls && same_limits
    }

    /// What is known of a user, and whether that was kept from before: it is good for its time.
    ///
    /// # Errors
    /// When nobody could be asked.
    ///
    /// # Cancel safety
    /// Cancel safe: the question goes on for others, and its answer is kept.
    pub(super) async fn look_up(
        self: &Arc<Self>,
        user: &str,
    ) -> Result<(Arc<Known>, Age), Unanswered> {
        if user.len() > NAME_LEN_MAX {
            return Ok((Arc::default(), Age::Fresh));
        }
        let mut answer = match self.find(user) {
            Found::Kept(known) => return Ok((known, Age::Kept)),
            Found::Asked(answer) => answer,
            Found::Full => {
                self.complain("too many look-ups at once");
                return Err(Unanswered);
            }
        };
        let answer = answer.wait_for(Option::is_some).await;
        let answer = answer.ok().and_then(|answer| answer.clone()).unwrap_or(Err(Unanswered));
        answer.map(|known| (known, Age::Fresh))
    }

    /// What users here are most likely asked for under md5: what the one was who was found last, and
    /// before that what Postgres makes of passwords by itself.
    pub(super) fn under_md5(&self) -> Md5Mock {
        self.desk.lock().under_md5.unwrap_or(Md5Mock::Scram)
    }

    /// A secret did not fit: it may have been changed since it was looked up. The next login asks
    /// again, at once.
    pub(super) fn doubt(&self, user: &str) {
        if let Some(Entry::Kept(_, until)) = self.desk.lock().answers.get_mut(user) {
            *until = Instant::now();
        }
    }

    fn find(self: &Arc<Self>, user: &str) -> Found {
        let mut desk = self.desk.lock();
        let before = match desk.answers.get(user) {
            Some(Entry::Asked(answer)) => return Found::Asked(answer.clone()),
            Some(Entry::Kept(known, until)) if Instant::now() < *until => {
                return Found::Kept(Arc::clone(known));
            }
            Some(Entry::Kept(known, _)) => Some(Arc::clone(known)),
            None => None,
        };
        let was_there = before.as_ref().is_some_and(|before| before.exists);
        let line = if was_there { &mut desk.line } else { &mut desk.strangers };
        if line.len() >= LINE_MAX {
            return Found::Full;
        }
        let (sender, answer) = watch::channel(None);
        line.push_back(Question { user: user.to_owned(), answer: sender, before });
        desk.answers.insert(user.to_owned(), Entry::Asked(answer.clone()));
        if desk.idle > 0 {
            self.called.notify_one();
        } else if desk.workers < self.connections_max {
            desk.workers += 1;
            tokio::spawn(Arc::clone(self).work());
        }
        Found::Asked(answer)
    }

    /// Answers what is in line, on one connection, until nobody has asked for a while.
    async fn work(self: Arc<Self>) {
        let mut asker = None;
        while let Some(question) = self.next().await {
            let answer = self.answer(&mut asker, &question).await;
            self.settle(question, answer);
        }
    }

    async fn next(&self) -> Option<Question> {
        loop {
            {
                let mut desk = self.desk.lock();
                if let Some(question) = desk.next() {
                    return Some(question);
                }
                desk.idle += 1;
            }
            let called = timeout(IDLE, self.called.notified()).await;
            let mut desk = self.desk.lock();
            desk.idle -= 1;
            // Who asked in between has seen this worker idle.
            if called.is_err() && desk.line.is_empty() && desk.strangers.is_empty() {
                desk.workers -= 1;
                return None;
            }
        }
    }

    async fn answer(&self, asker: &mut Option<(Address, Asker)>, question: &Question) -> Answer {
        let reused = asker.is_some();
        let mut asked = timeout(self.limit, self.ask(asker, &question.user)).await;
        if reused && matches!(&asked, Ok(Err(AskError::Io(_)))) {
            // The server has closed what lay idle.
            *asker = None;
            asked = timeout(self.limit, self.ask(asker, &question.user)).await;
        }
        let error = match asked {
            Ok(Ok(row)) => return Ok(self.known(question, row)),
            Ok(Err(error)) => error,
            Err(_elapsed) => AskError::TimedOut,
        };
        *asker = None;
        match error {
            AskError::Connect(error) => {
                let complaint = self.target.complaint(&error);
                self.complaints.complain(&format!("auth_query: {complaint}"));
            }
            error => self.complain(&error.to_string()),
        }
        Err(Unanswered)
    }

    fn complain(&self, what: &str) {
        let Target { address, user, .. } = &self.target;
        let user = shown(user);
        self.complaints
            .complain(&format!("auth_query: pgweir to server: {what} (user {user}, at {address})"));
    }

    async fn ask(
        &self,
        asker: &mut Option<(Address, Asker)>,
        user: &str,
    ) -> Result<Option<Vec<Option<String>>>, AskError> {
        let address = self.address.lock().clone();
        let asker = match asker {
            Some((at, asker)) if *at == address => asker,
            other => {
                let target = Target { address: address.clone(), ..self.target.clone() };
                let connected = Asker::connect(&target, &SETTINGS).await?;
                &mut other.insert((address, connected)).1
            }
        };
        let rows = asker.ask(&self.query, &[user]).await?;
        Ok(rows.into_iter().next())
    }

    /// What a row says: the user, and the secret. A row about somebody else says nothing.
    fn known(&self, question: &Question, row: Option<Vec<Option<String>>>) -> Arc<Known> {
        let user = question.user.as_str();
        let mut values = row.unwrap_or_default().into_iter();
        if values.next().flatten().as_deref() != Some(user) {
            // Nobody again is the same nobody.
            let before = question.before.as_ref().filter(|before| !before.exists);
            return before.map_or_else(Arc::default, Arc::clone);
        }
        let secret = values.next().flatten().filter(|secret| !secret.is_empty());
        let stored = secret.map(|secret| StoredSecret::parse(&secret)).transpose();
        let stored = stored.unwrap_or_else(|error| {
            self.complain(&format!("secret of {}: {error}", shown(user)));
            None
        });
        if let Some(before) = &question.before
            && before.exists
            && before.stored.as_ref().map(|secret| secret.stored()) == stored.as_ref()
        {
            return Arc::clone(before);
        }
        Arc::new(Known {
            exists: true,
            server: stored.as_ref().and_then(StoredSecret::to_server_secret).map(Arc::new),
            stored: stored.map(|stored| Arc::new(UserSecret::new(user, stored, &self.mock))),
        })
    }

    /// Keeps an answer and tells those who wait.
    fn settle(&self, question: Question, answer: Answer) {
        let Question { user, answer: waiting, .. } = question;
        {
            let now = Instant::now();
            let mut desk = self.desk.lock();
            match &answer {
                Ok(known) => {
                    if let Some(secret) = &known.stored {
                        desk.under_md5 = Some(secret.stored().under_md5());
                    }
                    desk.keep(user, known, now + self.keep, (self.answers_max, now));
                }
                Err(Unanswered) => drop(desk.answers.remove(&user)),
            }
        }
        // Nobody may be waiting any more.
        waiting.send_replace(Some(answer));
    }
}

/// What a source has at once.
enum Found {
    Kept(Arc<Known>),
    Asked(watch::Receiver<Option<Answer>>),
    Full,
}

impl Desk {
    /// The question that is next.
    fn next(&mut self) -> Option<Question> {
        self.line.pop_front().or_else(|| self.strangers.pop_front())
    }

    /// Keeps an answer. Where there is no room, first those go that are about nobody, for which no others
    /// do, then those that are no good any more, then all.
    fn keep(
        &mut self,
        user: String,
        known: &Arc<Known>,
        until: Instant,
        (max, now): (usize, Instant),
    ) {
        self.answers.remove(&user);
        if self.answers.len() >= max {
            self.forget(|known, _| known.exists);
            if !known.exists {
                return;
            }
        }
        if self.answers.len() >= max {
            self.forget(|_, until| now < until);
        }
        if self.answers.len() >= max {
            self.forget(|_, _| false);
        }
        self.answers.insert(user, Entry::Kept(Arc::clone(known), until));
    }

    /// Keeps of the answers only these.
    fn forget(&mut self, stays: impl Fn(&Known, Instant) -> bool) {
        self.answers.retain(|_, entry| match entry {
            Entry::Asked(_) => true,
            Entry::Kept(known, until) => stays(known, *until),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nobody_take_no_room_of_users() {
        let (now, mut desk) = (Instant::now(), Desk::default());
        let until = now + Duration::from_secs(60);
        let there = Arc::new(Known { exists: true, ..Known::default() });
        for n in 0..3 {
            desk.keep(format!("user {n}"), &there, until, (4, now));
        }
        for n in 0..100 {
            desk.keep(format!("nobody {n}"), &Arc::default(), until, (4, now));
        }
        for n in 0..3 {
            assert!(desk.answers.contains_key(&format!("user {n}")), "{n}");
        }
        // Users take the room of nobody, then of each other.
        desk.keep("user 3".to_owned(), &there, until, (4, now));
        assert_eq!(desk.answers.len(), 4);
        desk.keep("nobody".to_owned(), &Arc::default(), until, (4, now));
        assert_eq!(desk.answers.len(), 4);
        desk.keep("user 4".to_owned(), &there, until, (4, now));
        assert_eq!(desk.answers.len(), 1);
    }

    #[test]
    fn who_was_there_is_asked_for_before_strangers() {
        let question = |user: &str| Question {
            user: user.to_owned(),
            answer: watch::channel(None).0,
            before: None,
        };
        let mut desk = Desk::default();
        desk.strangers.extend((0..3).map(|n| question(&format!("stranger {n}"))));
        desk.line.push_back(question("user"));
        let order: Vec<_> = std::iter::from_fn(|| desk.next()).map(|it| it.user).collect();
        assert_eq!(order, ["user", "stranger 0", "stranger 1", "stranger 2"]);
    }
}

//! Whether a host is there, as a value with some inertia.

use tokio::time::Instant;

/// Whether a host is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has been able to say yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down,
}

impl State {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What a look at a host says about that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It has answered.
    Answer,
    /// Nobody listens there, or a server that starts or ends.
    Gone,
    /// It has not answered in time, or could not be reached.
    Silence,
    /// It is there, and does not want to answer: that says nothing.
    Refusal,
}

/// Silences in a row that make a host that was up one that is down.
const SILENCES: u32 = 3;
/// Answers in a row that make a host that was down one that is up.
const ANSWERS: u32 = 2;

/// A host's state and what has been seen since it was last confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Health {
    state: State,
    since: Instant,
    /// Signs in a row that speak against the state.
    contrary: u32,
}

impl Health {
    /// That of a host that nobody has looked at.
    pub fn new(now: Instant) -> Self {
        Self { state: State::Unknown, since: now, contrary: 0 }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it has that state.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Takes a sign in; whether the state is another one now.
    pub fn saw(&mut self, sign: Sign, now: Instant) -> bool {
        let (other, needed) = match (self.state, sign) {
            (State::Unknown, Sign::Answer) => (State::Up, 1),
            (State::Unknown, Sign::Gone | Sign::Silence) => (State::Down, 1),
            (State::Up, Sign::Gone) => (State::Down, 1),
            (State::Up, Sign::Silence) => (State::Down, SILENCES),
            (State::Down, Sign::Answer) => (State::Up, ANSWERS),
            (_, Sign::Refusal) => return false,
            (State::Up, Sign::Answer) | (State::Down, Sign::Gone | Sign::Silence) => {
                self.contrary = 0;
                return false;
            }
        };
        self.contrary += 1;
        if self.contrary < needed {
            return false;
        }
        *self = Self { state: other, since: now, contrary: 0 };
        true
    }
}

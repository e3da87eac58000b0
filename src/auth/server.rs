//! Our login to a Postgres server, from its challenge to AuthenticationOk.
//!
//! Invariants: once SCRAM has begun, nothing but the server's own valid signature lets the login
//! end well; a server asks once; lengths, nonces and iterations of a server are bounded. Must
//! not know: ErrorResponse and the other messages of a startup, which the caller reads.

use std::sync::Arc;

use super::md5::Md5Hash;
use super::message::{self, BOUND_METHOD, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, code};
use super::scram::prove::{Channel, Expected, Opened};
use super::scram::{self, Binding, Malformed};
use super::secret::{Known, ServerSecret};

/// Our login to one server: feed it the bodies of `R` messages.
#[derive(Debug)]
pub struct ServerAuth {
    user: String,
    secret: Option<Arc<ServerSecret>>,
    /// What binds the channel, where something does.
    binding: Option<Binding>,
    state: State,
    method: Option<&'static str>,
}

/// What to do next with the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send this complete message, then feed the body of the server's next `R` message.
    Send(Vec<u8>),
    /// Nothing to send; another `R` message follows.
    Wait,
    /// The server has let us in.
    Done,
}

/// Why the login to a server failed on our side. The server is at fault, or our configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerAuthError {
    /// The server asks for a method that we do not have.
    #[error("the server asks for {method}, which is not supported")]
    Unsupported {
        /// The method, bounded and printable.
        method: String,
    },
    /// The server asks for proof and we have no secret for the user.
    #[error("the server asks for {method}, but no password is known for user \"{user}\"")]
    NoSecret {
        /// The name of the method.
        method: &'static str,
        /// Whose secret is missing.
        user: String,
    },
    /// The secret that we have cannot answer what the server asks for.
    #[error("the server asks for {method}, but only {known} is known for user \"{user}\"")]
    SecretForm {
        /// The name of the method.
        method: &'static str,
        /// What is known.
        known: &'static str,
        /// Whose secret it is.
        user: String,
    },
    /// We have keys of a client, but they were made with another salt or iteration count.
    #[error(
        "the server's SCRAM secret of user \"{user}\" differs from the one that the client \
         logged in with: store the same verifier on both sides"
    )]
    OtherVerifier {
        /// Whose secrets differ.
        user: String,
    },
    /// The server's signature is wrong: it does not know the user's verifier.
    #[error("the server's signature is wrong: it does not know the secret of user \"{user}\"")]
    Signature {
        /// Whose secret it does not know.
        user: String,
    },
    /// The server let us in before it had proven that it knows the user.
    #[error("the server broke off SCRAM before it had shown its own signature")]
    NotProven,
    /// The server asked for something out of its turn.
    #[error("the server sent an authentication message out of turn")]
    OutOfTurn,
    /// Our proof could not be computed.
    #[error("the proof for the server could not be computed")]
    NotComputed,
    /// The server sent something that is not the protocol.
    #[error("the server sent a malformed authentication message: {0}")]
    Malformed(#[from] Malformed),
}

#[derive(Debug)]
enum State {
    /// Nothing was asked yet.
    Fresh,
    /// A password or an md5 answer was sent.
    Answered,
    /// SASLInitialResponse was sent.
    Opened(Opened),
    /// Our proof was sent.
    Proven(Expected),
    /// The server's signature was right.
    Verified,
    /// Done or failed.
    Over,
}

impl ServerAuth {
    /// A login of `user`; without a secret only a server that trusts him lets him in.
    #[must_use]
    pub fn new(user: &str, secret: Option<Arc<ServerSecret>>) -> ServerAuth {
        let (user, binding, method) = (user.to_owned(), None, None);
        ServerAuth { user, secret, binding, state: State::Fresh, method }
    }

    /// The same over a channel that something may bind, which is used where the server offers it.
    #[must_use]
    pub fn over(self, binding: Option<Binding>) -> ServerAuth {
        ServerAuth { binding, ..self }
    }

    /// How the server wants us to prove who we are, and with SCRAM by which mechanism we do; `None`
    /// as long as it has not asked.
    #[must_use]
    pub fn method(&self) -> Option<&'static str> {
        self.method
    }

    /// Whether the next message may be hashed for milliseconds, or for as long as a server says: not
    /// to be done where others wait.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        let hashes = |secret: &ServerSecret| matches!(secret.known, Known::Password(_));
        matches!(self.state, State::Opened(_)) && self.secret.as_deref().is_some_and(hashes)
    }

    /// Takes the body of an `R` message: what follows its length word.
    ///
    /// The first SCRAM login with a password and a new salt hashes for milliseconds, and up to
    /// about half a second for [`Iterations::MAX`](super::Iterations::MAX).
    ///
    /// # Errors
    /// [`ServerAuthError`]; the login is over then, and the connection must be closed.
    pub fn received(&mut self, body: &[u8]) -> Result<Progress, ServerAuthError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        let (asked, payload) =
            body.split_first_chunk::<4>().ok_or(Malformed("it has no authentication code"))?;
        let asked = u32::from_be_bytes(*asked);
        match (&state, asked) {
            (State::Fresh, code::CLEARTEXT) => self.method = Some("password in clear"),
            (State::Fresh, code::MD5) => self.method = Some("md5"),
            (State::Fresh, code::SASL) => self.method = Some("scram-sha-256"),
            _ => {}
        }
        let (state, progress) = match (state, asked) {
            (state, code::OK) => self.ok(&state, payload)?,
            (State::Fresh, code::CLEARTEXT) => self.cleartext(payload)?,
            (State::Fresh, code::MD5) => self.md5(payload)?,
            (State::Fresh, code::SASL) => self.open(payload)?,
            (State::Opened(opened), code::SASL_CONTINUE) => self.prove(opened, payload)?,
            (State::Proven(expected), code::SASL_FINAL) => self.verify(&expected, payload)?,
            (State::Fresh, other) => return Err(unsupported(other)),
            _ => return Err(ServerAuthError::OutOfTurn),
        };
        if matches!(&state, State::Opened(opened) if opened.is_bound()) {
            self.method = Some(BOUND_METHOD);
        }
        self.state = state;
        Ok(progress)
    }

    fn ok(&self, state: &State, payload: &[u8]) -> Result<(State, Progress), ServerAuthError> {
        empty(payload)?;
        match state {
            State::Fresh | State::Answered | State::Verified => Ok((State::Over, Progress::Done)),
            State::Opened(_) | State::Proven(_) => Err(ServerAuthError::NotProven),
            State::Over => Err(ServerAuthError::OutOfTurn),
        }
    }

    fn cleartext(&self, payload: &[u8]) -> Result<(State, Progress), ServerAuthError> {
        empty(payload)?;
        let method = "a password in clear";
        match &self.secret(method)?.known {
            Known::Password(password) => Ok(answered(password)),
            Known::Md5(_) | Known::Keys(_) => Err(self.secret_form(method)),
        }
    }

    fn md5(&self, payload: &[u8]) -> Result<(State, Progress), ServerAuthError> {
        let salt =
            payload.try_into().map_err(|_wrong_length| Malformed("the md5 salt is not 4 bytes"))?;
        let method = "md5";
        let answer = match &self.secret(method)?.known {
            Known::Password(password) => Md5Hash::of(&self.user, password).answer(salt),
            Known::Md5(hash) => hash.answer(salt),
            Known::Keys(_) => return Err(self.secret_form(method)),
        };
        Ok(answered(answer.as_bytes()))
    }

    fn open(&self, payload: &[u8]) -> Result<(State, Progress), ServerAuthError> {
        let mechanism = choose_mechanism(payload, self.binding.as_ref())?;
        if let Known::Md5(_) = self.secret(SCRAM_SHA_256)?.known {
            return Err(self.secret_form(SCRAM_SHA_256));
        }
        let channel = match &self.binding {
            Some(binding) if mechanism == SCRAM_SHA_256_PLUS => Channel::Bound(binding),
            Some(_) => Channel::NotOffered,
            None => Channel::Unbound,
        };
        let opened = Opened::new(channel, scram::random_nonce());
        let send = message::sasl_initial_response(mechanism, &opened.client_first());
        Ok((State::Opened(opened), Progress::Send(send)))
    }

    fn prove(&self, opened: Opened, payload: &[u8]) -> Result<(State, Progress), ServerAuthError> {
        let challenge = opened.challenge(payload)?;
        let keys = self
            .secret(SCRAM_SHA_256)?
            .keys(challenge.salt(), challenge.iterations())
            .ok_or_else(|| ServerAuthError::OtherVerifier { user: self.user.clone() })?;
        let (client_final, expected) = challenge.answer(&keys);
        let send = message::sasl_response(&client_final);
        Ok((State::Proven(expected), Progress::Send(send)))
    }

    fn verify(
        &self,
        expected: &Expected,
        payload: &[u8],
    ) -> Result<(State, Progress), ServerAuthError> {
        if !expected.is_met_by(payload)? {
            return Err(ServerAuthError::Signature { user: self.user.clone() });
        }
        Ok((State::Verified, Progress::Wait))
    }

    fn secret(&self, method: &'static str) -> Result<&ServerSecret, ServerAuthError> {
        self.secret
            .as_deref()
            .ok_or_else(|| ServerAuthError::NoSecret { method, user: self.user.clone() })
    }

    fn secret_form(&self, method: &'static str) -> ServerAuthError {
        ServerAuthError::SecretForm {
            method,
            known: self.secret.as_deref().map_or("nothing", ServerSecret::form),
            user: self.user.clone(),
        }
    }
}

fn answered(text: &[u8]) -> (State, Progress) {
    (State::Answered, Progress::Send(message::password(text)))
}

fn empty(payload: &[u8]) -> Result<(), Malformed> {
    match payload {
        [] => Ok(()),
        _ => Err(Malformed("it is longer than it should be")),
    }
}

/// Reads the whole offer: names that end with NUL, and an empty one at the end.
fn choose_mechanism(
    offer: &[u8],
    binding: Option<&Binding>,
) -> Result<&'static str, ServerAuthError> {
    const WRONG: Malformed = Malformed("the list of SASL mechanisms is not terminated");
    let mut offered = Vec::new();
    let mut rest = offer;
    loop {
        let (name, next) = message::read_string(rest).ok_or(WRONG)?;
        rest = next;
        if name.is_empty() {
            break;
        }
        offered.push(name);
    }
    empty(rest)?;
    if binding.is_some() && offered.contains(&SCRAM_SHA_256_PLUS.as_bytes()) {
        return Ok(SCRAM_SHA_256_PLUS);
    }
    if offered.contains(&SCRAM_SHA_256.as_bytes()) {
        return Ok(SCRAM_SHA_256);
    }
    let names = String::from_utf8_lossy(&offered.join(&b' ')).into_owned();
    Err(ServerAuthError::Unsupported { method: format!("SASL with {}", shown(&names)) })
}

/// Text of a server, fit for a log.
fn shown(text: &str) -> String {
    let printable = |char: &char| char.is_ascii_graphic() || *char == ' ';
    text.chars().filter(printable).take(SHOWN_LEN_MAX).collect()
}

fn unsupported(asked: u32) -> ServerAuthError {
    let method = match asked {
        code::KERBEROS_V5 => "Kerberos V5".to_owned(),
        code::SCM => "SCM credentials".to_owned(),
        code::GSS => "GSSAPI".to_owned(),
        code::SSPI => "SSPI".to_owned(),
        code::GSS_CONTINUE | code::SASL_CONTINUE | code::SASL_FINAL => {
            return ServerAuthError::OutOfTurn;
        }
        other => format!("authentication method {other}"),
    };
    ServerAuthError::Unsupported { method }
}

const SHOWN_LEN_MAX: usize = 100;

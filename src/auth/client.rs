//! The login of a client, from our challenge to his proof.
//!
//! Invariants: what is sent, and how long it is, depends on the name and the method, never on
//! whether the user exists; nothing but a matching proof accepts (or trust, where configured);
//! a body that is malformed ends the login. Must not know: what a rejection looks like to the
//! client; the caller words it, and words all of [`Rejection::NotProven`] alike.

use std::sync::Arc;

use super::md5::Salt;
use super::message::{self, BOUND_METHOD, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, code};
use super::mock::{Md5Mock, Mock, SALT_LEN};
use super::scram::accept::{Challenged, Offer};
use super::scram::{self, Binding, Iterations, Malformed, ScramKeys, Verifier};
use super::secret::{Known, ServerSecret, Stored, UserSecret};

/// How clients prove who they are (`auth_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// SCRAM-SHA-256, against a plain secret or a verifier.
    Scram,
    /// md5, against a plain secret or a hash; SCRAM for a user whose secret is a verifier.
    Md5,
    /// The password in clear, against any secret.
    Plain,
    /// No proof, but the user must be known.
    Trust,
    /// No proof, any name.
    Any,
}

impl Method {
    /// Its name in rules and in the log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Scram => "scram-sha-256",
            Method::Md5 => "md5",
            Method::Plain => "password",
            Method::Trust => "trust",
            Method::Any => "any",
        }
    }
}

/// What is known about the user that a client names.
#[derive(Debug, Clone)]
pub enum Account {
    /// No such user.
    Unknown,
    /// The user exists but has no secret: only trust lets him in.
    WithoutSecret,
    /// The user exists and has this secret.
    WithSecret(Arc<UserSecret>),
}

/// What to do next with the client.
#[derive(Debug)]
pub enum Outcome {
    /// Send this complete message, then feed the body of the client's next `p` message.
    Send(Vec<u8>),
    /// The client is who he says. Send this, which ends with AuthenticationOk.
    Accepted {
        /// Complete messages.
        send: Vec<u8>,
        /// How it was proven.
        proof: Proof,
    },
    /// The login is over.
    Rejected(Rejection),
}

/// How a client proved who he is, and with it what else he has shown.
#[derive(Debug)]
pub enum Proof {
    /// Any name was let in.
    Any,
    /// A known name was trusted.
    Trust,
    /// The password in clear.
    Plain(ServerSecret),
    /// The right answer to an md5 challenge, which shows nothing else.
    Md5,
    /// A SCRAM proof, which shows the keys behind the verifier.
    Scram(ScramKeys),
}

impl Proof {
    /// What the client's proof lets us log in to a server with, in his name.
    #[must_use]
    pub fn into_server_secret(self) -> Option<ServerSecret> {
        match self {
            Proof::Any | Proof::Trust | Proof::Md5 => None,
            Proof::Plain(secret) => Some(secret),
            Proof::Scram(keys) => Some(ServerSecret::from_keys(keys)),
        }
    }
}

/// Why a client was not let in. For the log; a client must not see which [`Why`] it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The exchange was proper but proved nothing. One SQLSTATE (28P01) and one text for all.
    #[error("password authentication failed: {0}")]
    NotProven(Why),
    /// The client asked for a SASL mechanism that was not offered (08P01).
    #[error("the client chose a SASL mechanism that was not offered")]
    Mechanism,
    /// The client broke the protocol (08P01).
    #[error("the client broke the authentication protocol: {0}")]
    Malformed(#[from] Malformed),
}

/// What the log may say about a login that proved nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is no such user.
    #[error("no such user")]
    UnknownUser,
    /// The user has no secret.
    #[error("the user has no secret")]
    NoSecret,
    /// The secret of the user does not serve the method: an md5 hash under SCRAM.
    #[error("the form of the stored secret does not serve the method")]
    SecretForm,
    /// The password is wrong.
    #[error("wrong password")]
    WrongPassword,
}

/// The login of one client: start it, send what it says, feed it the bodies of `p` messages.
#[derive(Debug)]
pub struct ClientAuth {
    state: State,
    /// What binds its channel, where something does.
    binding: Option<Binding>,
    method: &'static str,
}

#[derive(Debug)]
enum State {
    /// AuthenticationCleartextPassword was sent. The decoy makes the check cost the same for all.
    PasswordAsked(Account, Option<Verifier>),
    /// AuthenticationMD5Password was sent with this salt.
    Md5Asked(Account, Salt),
    /// AuthenticationSASL was sent.
    SaslOffered(Opponent),
    /// AuthenticationSASLContinue was sent.
    SaslChallenged(Box<Challenged>, Opponent),
    /// Accepted or rejected.
    Over,
}

impl ClientAuth {
    /// Starts the login of a client that calls himself `user`. Where something binds its channel,
    /// SCRAM is offered with that as well.
    #[must_use]
    pub fn start(
        method: Method,
        user: &str,
        account: Account,
        mock: &Mock,
        binding: Option<Binding>,
    ) -> (ClientAuth, Outcome) {
        let (method, state, outcome) = match Exchange::choose(method, &account, mock) {
            Exchange::None(proof) => (method.name(), State::Over, accept(Vec::new(), proof)),
            Exchange::Refused(why) => (method.name(), State::Over, reject(why)),
            Exchange::Plain => (
                Method::Plain.name(),
                State::PasswordAsked(account, mock.decoy(user)),
                Outcome::Send(message::authentication(code::CLEARTEXT, &[])),
            ),
            Exchange::Md5 => {
                let salt: Salt = rand::random();
                (
                    Method::Md5.name(),
                    State::Md5Asked(account, salt),
                    Outcome::Send(message::authentication(code::MD5, &salt)),
                )
            }
            Exchange::Scram => (
                Method::Scram.name(),
                State::SaslOffered(Opponent::new(user, account, mock)),
                Outcome::Send(message::sasl(match binding {
                    Some(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
                    None => &[SCRAM_SHA_256],
                })),
            ),
        };
        (ClientAuth { state, binding, method }, outcome)
    }

    /// The end of a login whose proof is not in messages: a certificate, or the system's word. The
    /// user must be known, as for trust.
    ///
    /// # Errors
    /// When the user is not.
    pub fn vouched(account: &Account) -> Result<(Vec<u8>, Proof), Rejection> {
        match account {
            Account::Unknown => Err(Rejection::NotProven(Why::UnknownUser)),
            _ => Ok((Self::welcome(), Proof::Trust)),
        }
    }

    /// That a client is let in, with nothing asked of it.
    #[must_use]
    pub fn welcome() -> Vec<u8> {
        message::authentication(code::OK, &[])
    }

    /// How the client proves who he is: by the exchange that is run, which his secret may decide,
    /// and with SCRAM by the mechanism that he has chosen.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Whether the next message will be hashed for milliseconds: not to be done where others wait.
    #[must_use]
    pub fn is_costly(&self) -> bool {
        match &self.state {
            State::PasswordAsked(_, Some(_)) => true,
            State::PasswordAsked(Account::WithSecret(secret), None) => {
                matches!(secret.stored().0, Stored::Scram(_))
            }
            State::SaslChallenged(_, Opponent::Real(secret)) => secret.makes_verifier(),
            _ => false,
        }
    }

    /// How the next message can be held against another account, if it turns out that this one is
    /// out of date. `None` for SCRAM: the message was made for one secret's salt.
    #[must_use]
    pub fn again(&self) -> Option<Again> {
        match &self.state {
            State::PasswordAsked(_, decoy) => Some(Again::Plain(decoy.clone())),
            State::Md5Asked(_, salt) => Some(Again::Md5(*salt)),
            State::SaslOffered(_) | State::SaslChallenged(..) | State::Over => None,
        }
    }

    /// Takes the body of a `p` message: what follows its length word.
    ///
    /// The caller bounds the body (64 KiB) before it reads it. The first SCRAM login of a plain
    /// secret, and each plain login against a verifier, hash for milliseconds.
    pub fn received(&mut self, body: &[u8]) -> Outcome {
        let (state, outcome) = match std::mem::replace(&mut self.state, State::Over) {
            State::PasswordAsked(account, decoy) => {
                (State::Over, check_password(body, &account, decoy.as_ref()))
            }
            State::Md5Asked(account, salt) => (State::Over, check_md5(body, &account, salt)),
            State::SaslOffered(opponent) => match challenge(body, &opponent, self.binding.as_ref())
            {
                Ok(challenged) => {
                    if challenged.is_bound() {
                        self.method = BOUND_METHOD;
                    }
                    let send =
                        message::authentication(code::SASL_CONTINUE, challenged.server_first());
                    let state = State::SaslChallenged(Box::new(challenged), opponent);
                    (state, Outcome::Send(send))
                }
                Err(rejection) => (State::Over, Outcome::Rejected(rejection)),
            },
            State::SaslChallenged(challenged, opponent) => {
                (State::Over, check_scram(body, &challenged, &opponent))
            }
            State::Over => (State::Over, malformed("a message after the login was over")),
        };
        self.state = state;
        outcome
    }
}

/// A login that has come as far as another, whose account was out of date.
#[derive(Clone, Debug)]
pub enum Again {
    /// A password was asked for. The decoy makes the check cost the same for all.
    Plain(Option<Verifier>),
    /// The answer to this salt was.
    Md5(Salt),
}

impl Again {
    /// The login against this account; it takes the message that the other has taken.
    #[must_use]
    pub fn against(self, account: Account) -> ClientAuth {
        let (method, state) = match self {
            Self::Plain(decoy) => (Method::Plain, State::PasswordAsked(account, decoy)),
            Self::Md5(salt) => (Method::Md5, State::Md5Asked(account, salt)),
        };
        ClientAuth { state, binding: None, method: method.name() }
    }
}

/// Which exchange a login runs.
enum Exchange {
    None(Proof),
    Refused(Why),
    Plain,
    Md5,
    Scram,
}

impl Exchange {
    fn choose(method: Method, account: &Account, mock: &Mock) -> Exchange {
        match (method, account) {
            (Method::Any, _) => Exchange::None(Proof::Any),
            // No exchange could hide what trust says anyway.
            (Method::Trust, Account::Unknown) => Exchange::Refused(Why::UnknownUser),
            (Method::Trust, _) => Exchange::None(Proof::Trust),
            (Method::Plain, _) => Exchange::Plain,
            (Method::Scram, _) => Exchange::Scram,
            (Method::Md5, account) => {
                let asked = match account {
                    Account::WithSecret(secret) => secret.stored().under_md5(),
                    Account::Unknown | Account::WithoutSecret => mock.md5(),
                };
                match asked {
                    Md5Mock::Md5 => Exchange::Md5,
                    Md5Mock::Scram => Exchange::Scram,
                }
            }
        }
    }
}

/// Whom the client plays SCRAM against.
#[derive(Debug)]
enum Opponent {
    /// The secret of a known user, plain or a verifier.
    Real(Arc<UserSecret>),
    /// Nothing that could be proven; the exchange is for show.
    Mock { why: Why, salt: [u8; SALT_LEN], iterations: Iterations },
}

impl Opponent {
    fn new(user: &str, account: Account, mock: &Mock) -> Opponent {
        let why = match account {
            Account::WithSecret(secret) if secret.challenge().is_some() => {
                return Opponent::Real(secret);
            }
            Account::WithSecret(_) => Why::SecretForm,
            Account::WithoutSecret => Why::NoSecret,
            Account::Unknown => Why::UnknownUser,
        };
        Opponent::Mock { why, salt: mock.salt_of(user), iterations: mock.iterations() }
    }

    fn challenge(&self) -> Option<(&[u8], Iterations)> {
        match self {
            Opponent::Real(secret) => secret.challenge(),
            Opponent::Mock { salt, iterations, .. } => Some((salt, *iterations)),
        }
    }
}

fn check_password(body: &[u8], account: &Account, decoy: Option<&Verifier>) -> Outcome {
    let Some(password) = message::read_password(body) else {
        return malformed("the password message is not one string");
    };
    let secret = secret_of(account);
    let hashes = secret.is_ok_and(|secret| matches!(secret.stored().0, Stored::Scram(_)));
    if let Some(decoy) = decoy.filter(|_| !hashes) {
        // Time must not tell whose password is hashed. Nothing is proven by it.
        std::hint::black_box(decoy.is_of_password(password));
    }
    let secret = match secret {
        Ok(secret) => secret,
        Err(why) => return reject(why),
    };
    let is_right = secret.is_of_password(password);
    // A stored hash may be that of an empty password, which lets nobody in, as in Postgres.
    if password.is_empty() || !is_right {
        return reject(Why::WrongPassword);
    }
    let shown = ServerSecret::new(Known::Password(password.to_vec()));
    accept(Vec::new(), Proof::Plain(shown))
}

fn check_md5(body: &[u8], account: &Account, salt: Salt) -> Outcome {
    let Some(answer) = message::read_password(body) else {
        return malformed("the password message is not one string");
    };
    let secret = match secret_of(account) {
        Ok(secret) => secret,
        Err(why) => return reject(why),
    };
    match secret.md5() {
        Some(hash) if hash.is_answered_by(answer, salt) => accept(Vec::new(), Proof::Md5),
        Some(_) => reject(Why::WrongPassword),
        None => reject(Why::SecretForm),
    }
}

fn challenge(
    body: &[u8],
    opponent: &Opponent,
    binding: Option<&Binding>,
) -> Result<Challenged, Rejection> {
    let (mechanism, client_first) = message::read_sasl_initial_response(body)
        .ok_or(Malformed("the SASL response does not fill its message"))?;
    let offer = match (mechanism, binding) {
        (mechanism, Some(binding)) if mechanism == SCRAM_SHA_256_PLUS.as_bytes() => {
            Offer::Bound(binding)
        }
        (mechanism, Some(_)) if mechanism == SCRAM_SHA_256.as_bytes() => Offer::Declined,
        (mechanism, None) if mechanism == SCRAM_SHA_256.as_bytes() => Offer::None,
        _ => return Err(Rejection::Mechanism),
    };
    let (salt, iterations) = opponent.challenge().ok_or(Rejection::NotProven(Why::SecretForm))?;
    let nonce = scram::random_nonce();
    Ok(Challenged::new(offer, client_first, salt, iterations, &nonce)?)
}

fn check_scram(body: &[u8], challenged: &Challenged, opponent: &Opponent) -> Outcome {
    let client_final = match challenged.client_final(body) {
        Ok(client_final) => client_final,
        Err(wrong) => return Outcome::Rejected(wrong.into()),
    };
    let accepted = match opponent {
        Opponent::Real(secret) => {
            secret.verifier().and_then(|verifier| challenged.check(&client_final, verifier))
        }
        Opponent::Mock { why, salt, iterations } => {
            // The same work, whatever comes out of it.
            let verifier = Verifier::unprovable(salt, *iterations);
            drop(challenged.check(&client_final, &verifier));
            return reject(*why);
        }
    };
    match accepted {
        Some(accepted) => {
            let server_final = accepted.server_final.as_bytes();
            let send = message::authentication(code::SASL_FINAL, server_final);
            accept(send, Proof::Scram(accepted.keys))
        }
        None => reject(Why::WrongPassword),
    }
}

fn secret_of(account: &Account) -> Result<&UserSecret, Why> {
    match account {
        Account::Unknown => Err(Why::UnknownUser),
        Account::WithoutSecret => Err(Why::NoSecret),
        Account::WithSecret(secret) => Ok(secret),
    }
}

fn accept(mut send: Vec<u8>, proof: Proof) -> Outcome {
    send.extend(message::authentication(code::OK, &[]));
    Outcome::Accepted { send, proof }
}

fn reject(why: Why) -> Outcome {
    Outcome::Rejected(Rejection::NotProven(why))
}

fn malformed(what: &'static str) -> Outcome {
    Outcome::Rejected(Malformed(what).into())
}

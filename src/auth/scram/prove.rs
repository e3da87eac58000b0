//! The client's role in SCRAM: proves a password or its keys, and checks the server's proof.
//!
//! The channel is bound where both sides can; a server that could and did not offer it learns by
//! the gs2 header that its offer was lost on the way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::{
    Attributes, BOUND_HEADER, Binding, Iterations, Key, Malformed, ScramKeys, checked_nonce,
    decode_key, decode_salt, digest, signature, xor,
};

/// How our end of the channel is bound.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) enum Channel<'a> {
    /// Nothing binds it.
    Unbound,
    /// Something would, but the server does not offer it.
    NotOffered,
    /// By this.
    Bound(&'a Binding),
}

impl Channel<'_> {
    fn gs2_header(self) -> &'static str {
        match self {
            Self::Unbound => "n,,",
            Self::NotOffered => "y,,",
            Self::Bound(_) => BOUND_HEADER,
        }
    }

    /// What the last message repeats.
    fn input(self) -> Vec<u8> {
        let data: &[u8] = match self {
            Self::Unbound | Self::NotOffered => &[],
            Self::Bound(Binding(data)) => data,
        };
        [self.gs2_header().as_bytes(), data].concat()
    }
}

/// An exchange whose client-first message was sent.
#[derive(Debug)]
pub(in crate::auth) struct Opened {
    gs2_header: &'static str,
    /// What the last message repeats.
    channel: Vec<u8>,
    client_first_bare: String,
    nonce: String,
}

/// A server's challenge: well formed, bounded, and for our nonce.
#[derive(Debug)]
pub(in crate::auth) struct Challenge {
    channel: Vec<u8>,
    client_first_bare: String,
    server_first: Vec<u8>,
    nonce: Vec<u8>,
    salt: Vec<u8>,
    iterations: Iterations,
}

/// What the server must show after it has seen our proof.
pub(in crate::auth) struct Expected {
    server_signature: Key,
}

impl Opened {
    /// Opens an exchange. The name is left to the startup packet, as libpq does.
    pub(in crate::auth) fn new(channel: Channel<'_>, nonce: String) -> Opened {
        Opened::named(channel, "", nonce)
    }

    /// Opens an exchange with a name in it, which Postgres ignores.
    pub(in crate::auth) fn named(channel: Channel<'_>, user: &str, nonce: String) -> Opened {
        Opened {
            gs2_header: channel.gs2_header(),
            channel: channel.input(),
            client_first_bare: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// Whether the channel is bound.
    pub(in crate::auth) fn is_bound(&self) -> bool {
        self.gs2_header == BOUND_HEADER
    }

    /// The client-first message.
    pub(in crate::auth) fn client_first(&self) -> Vec<u8> {
        format!("{}{}", self.gs2_header, self.client_first_bare).into_bytes()
    }

    /// Reads the server-first message.
    pub(in crate::auth) fn challenge(self, server_first: &[u8]) -> Result<Challenge, Malformed> {
        let mut attributes = Attributes::of(server_first);
        let nonce = attributes.expect(b'r', "server-first does not start with a nonce")?;
        let nonce = checked_nonce(nonce)?;
        match nonce.strip_prefix(self.nonce.as_bytes()) {
            Some([_, ..]) => {}
            _ => return Err(Malformed("the server's nonce does not extend ours")),
        }
        let salt = attributes.expect(b's', "server-first has no salt")?;
        let salt = decode_salt(salt)
            .ok_or(Malformed("the server's salt is empty, too long or not base64"))?;
        let iterations = attributes.expect(b'i', "server-first has no iteration count")?;
        let iterations = Iterations::parse(iterations)
            .ok_or(Malformed("the server's iteration count is out of bounds"))?;
        if attributes.rest.is_some() {
            return Err(Malformed("server-first goes on after the iteration count"));
        }
        Ok(Challenge {
            channel: self.channel,
            client_first_bare: self.client_first_bare,
            server_first: server_first.to_vec(),
            nonce: nonce.to_vec(),
            salt,
            iterations,
        })
    }
}

impl Challenge {
    pub(in crate::auth) fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub(in crate::auth) fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// The client-final message, and what the server must answer to it.
    pub(in crate::auth) fn answer(self, keys: &ScramKeys) -> (Vec<u8>, Expected) {
        let binding = STANDARD.encode(&self.channel);
        let mut message = [b"c=", binding.as_bytes(), b",r=", &self.nonce].concat();
        let sign =
            |key| signature(key, self.client_first_bare.as_bytes(), &self.server_first, &message);
        let stored_key = digest(&keys.client_key);
        let proof = xor(&keys.client_key, &sign(&stored_key));
        let server_signature = sign(&keys.server_key);
        message.extend_from_slice(b",p=");
        message.extend_from_slice(STANDARD.encode(proof).as_bytes());
        (message, Expected { server_signature })
    }
}

impl Expected {
    /// Whether the server-final message shows that the server knows the verifier.
    pub(in crate::auth) fn is_met_by(&self, server_final: &[u8]) -> Result<bool, Malformed> {
        let mut attributes = Attributes::of(server_final);
        let signature = attributes.expect(b'v', "server-final has no signature")?;
        if attributes.rest.is_some() {
            return Err(Malformed("server-final goes on after the signature"));
        }
        let signature = decode_key(signature)
            .ok_or(Malformed("the server's signature is not 32 bytes in base64"))?;
        Ok(signature.ct_eq(&self.server_signature).into())
    }
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expected(***)")
    }
}

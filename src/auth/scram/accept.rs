//! The server's role in SCRAM: sends the challenge, checks the proof, proves itself.
//!
//! A client that could bind its channel and believes that we can't (`y`) is fine only when that
//! was not offered: otherwise somebody between us has taken the offer out (RFC 5802, section 6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::{
    Attributes, BOUND_HEADER, Binding, Iterations, Malformed, ScramKeys, Verifier, checked_nonce,
    decode_key, digest, signature, xor,
};

/// What was offered as to channel binding, and what the client made of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::auth) enum Offer<'a> {
    /// It was not offered.
    None,
    /// It was, and the client chose to do without.
    Declined,
    /// It was, and the client takes it.
    Bound(&'a Binding),
}

/// An exchange whose challenge was sent.
#[derive(Debug)]
pub(in crate::auth) struct Challenged {
    /// What the client must repeat in its last message: its gs2 header, and what binds the channel.
    channel: Vec<u8>,
    client_first_bare: Vec<u8>,
    server_first: String,
    nonce: Vec<u8>,
}

/// A proof that was accepted: the server-final message, and the keys that the client showed.
#[derive(Debug)]
pub(in crate::auth) struct Accepted {
    pub(in crate::auth) server_final: String,
    pub(in crate::auth) keys: ScramKeys,
}

impl Challenged {
    /// Answers a client-first message with a challenge.
    pub(in crate::auth) fn new(
        offer: Offer<'_>,
        client_first: &[u8],
        salt: &[u8],
        iterations: Iterations,
        server_nonce: &str,
    ) -> Result<Challenged, Malformed> {
        let (channel, bare) = split_gs2_header(offer, client_first)?;
        let client_nonce = nonce_of_client_first(bare)?;
        let nonce = [client_nonce, server_nonce.as_bytes()].concat();
        let server_first = format!(
            "r={},s={},i={}",
            String::from_utf8_lossy(&nonce), // printable ASCII: checked
            STANDARD.encode(salt),
            iterations.get(),
        );
        Ok(Challenged { channel, client_first_bare: bare.to_vec(), server_first, nonce })
    }

    /// Whether the client has bound the channel.
    pub(in crate::auth) fn is_bound(&self) -> bool {
        self.channel.starts_with(b"p")
    }

    /// The server-first message.
    pub(in crate::auth) fn server_first(&self) -> &[u8] {
        self.server_first.as_bytes()
    }

    /// Reads the client-final message; the proof in it is not checked yet.
    pub(in crate::auth) fn client_final<'a>(
        &self,
        message: &'a [u8],
    ) -> Result<ClientFinal<'a>, Malformed> {
        let mut attributes = Attributes::of(message);
        let binding = attributes.expect(b'c', "client-final does not start with c=")?;
        if binding != STANDARD.encode(&self.channel).as_bytes() {
            return Err(Malformed("the channel binding differs from the one announced"));
        }
        let nonce = attributes.expect(b'r', "client-final has no nonce")?;
        if nonce != self.nonce.as_slice() {
            return Err(Malformed("the nonce is not the one of this exchange"));
        }
        let proof = loop {
            match attributes.next_any()? {
                Some((b'p', proof)) => break proof,
                Some(_) => {}
                None => return Err(Malformed("client-final has no proof")),
            }
        };
        if attributes.rest.is_some() {
            return Err(Malformed("client-final goes on after the proof"));
        }
        let proof_len = proof.len() + ",p=".len();
        Ok(ClientFinal {
            without_proof: message
                .len()
                .checked_sub(proof_len)
                .and_then(|end| message.get(..end))
                .ok_or(Malformed("client-final has no proof"))?,
            proof: decode_key(proof).ok_or(Malformed("the proof is not 32 bytes in base64"))?,
        })
    }

    /// Checks the proof against the verifier; `None` if the client does not know the password.
    pub(in crate::auth) fn check(
        &self,
        client_final: &ClientFinal<'_>,
        verifier: &Verifier,
    ) -> Option<Accepted> {
        let sign = |key| {
            signature(key, &self.client_first_bare, self.server_first(), client_final.without_proof)
        };
        let client_key = xor(&client_final.proof, &sign(&verifier.stored_key));
        if !bool::from(digest(&client_key).ct_eq(&verifier.stored_key)) {
            return None;
        }
        Some(Accepted {
            server_final: format!("v={}", STANDARD.encode(sign(&verifier.server_key))),
            keys: ScramKeys {
                iterations: verifier.iterations,
                salt: verifier.salt.clone(),
                client_key,
                server_key: verifier.server_key,
            },
        })
    }
}

/// A client-final message whose form is right.
pub(in crate::auth) struct ClientFinal<'a> {
    without_proof: &'a [u8],
    proof: [u8; 32],
}

/// The header with what binds the channel, and the rest of client-first.
fn split_gs2_header<'a>(
    offer: Offer<'_>,
    client_first: &'a [u8],
) -> Result<(Vec<u8>, &'a [u8]), Malformed> {
    match (offer, client_first) {
        (Offer::Bound(binding), [b'p', ..]) => {
            let bare = client_first
                .strip_prefix(BOUND_HEADER.as_bytes())
                .ok_or(Malformed("the channel binding is none that is supported"))?;
            Ok(([BOUND_HEADER.as_bytes(), &binding.0].concat(), bare))
        }
        (Offer::Bound(_), [b'n' | b'y', ..]) => {
            Err(Malformed("the mechanism with channel binding is used without it"))
        }
        (Offer::Declined, [b'y', ..]) => {
            Err(Malformed("the client missed our offer of channel binding: somebody removed it"))
        }
        (_, [b'n' | b'y', b',', b',', bare @ ..]) => {
            Ok((client_first.get(..3).unwrap_or_default().to_vec(), bare))
        }
        (_, [b'n' | b'y', b',', b'a', b'=', ..]) => {
            Err(Malformed("an authorization identity is asked for, which is not supported"))
        }
        (_, [b'p', b'=', ..]) => Err(Malformed("channel binding is asked for but not offered")),
        _ => Err(Malformed("client-first has no proper gs2 header")),
    }
}

/// The name in the message is ignored, as in Postgres: the one of the startup packet counts.
fn nonce_of_client_first(bare: &[u8]) -> Result<&[u8], Malformed> {
    let mut attributes = Attributes::of(bare);
    attributes.expect(b'n', "client-first has no user name in its place")?;
    let nonce = attributes.expect(b'r', "client-first has no nonce in its place")?;
    while attributes.next_any()?.is_some() {}
    checked_nonce(nonce)
}

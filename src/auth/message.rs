//! The bytes of the authentication messages: what we say, and bounded reading of what peers say.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

/// Codes of the AuthenticationXxx messages, by the names of the protocol.
pub(super) mod code {
    pub(in crate::auth) const OK: u32 = 0;
    pub(in crate::auth) const KERBEROS_V5: u32 = 2;
    pub(in crate::auth) const CLEARTEXT: u32 = 3;
    pub(in crate::auth) const MD5: u32 = 5;
    pub(in crate::auth) const SCM: u32 = 6;
    pub(in crate::auth) const GSS: u32 = 7;
    pub(in crate::auth) const GSS_CONTINUE: u32 = 8;
    pub(in crate::auth) const SSPI: u32 = 9;
    pub(in crate::auth) const SASL: u32 = 10;
    pub(in crate::auth) const SASL_CONTINUE: u32 = 11;
    pub(in crate::auth) const SASL_FINAL: u32 = 12;
}

/// The name of SCRAM without channel binding.
pub(super) const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// An AuthenticationXxx message.
pub(super) fn authentication(code: u32, payload: &[u8]) -> Vec<u8> {
    message(b'R', &[&code.to_be_bytes(), payload])
}

/// The name of SCRAM with channel binding.
pub(super) const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// What the log calls a login by that.
pub(super) const BOUND_METHOD: &str = "scram-sha-256-plus";

/// AuthenticationSASL that offers these mechanisms, the preferred one first.
pub(super) fn sasl(mechanisms: &[&str]) -> Vec<u8> {
    let mut offer: Vec<u8> =
        mechanisms.iter().flat_map(|name| name.bytes().chain(std::iter::once(0))).collect();
    offer.push(0);
    authentication(code::SASL, &offer)
}

/// A PasswordMessage: the password or the md5 answer, NUL-terminated.
pub(super) fn password(text: &[u8]) -> Vec<u8> {
    message(b'p', &[text, &[0]])
}

/// A SASLInitialResponse.
pub(super) fn sasl_initial_response(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let length = length_word(response.len());
    message(b'p', &[mechanism.as_bytes(), &[0], &length, response])
}

/// A SASLResponse.
pub(super) fn sasl_response(response: &[u8]) -> Vec<u8> {
    message(b'p', &[response])
}

/// The password in a PasswordMessage: one string that fills the body and holds no other NUL.
pub(super) fn read_password(body: &[u8]) -> Option<&[u8]> {
    let (last, password) = body.split_last()?;
    (*last == 0 && !password.contains(&0)).then_some(password)
}

/// Mechanism and response of a SASLInitialResponse whose inner length fills the body exactly.
pub(super) fn read_sasl_initial_response(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mechanism, rest) = read_string(body)?;
    let (length, response) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (length == response.len()).then_some((mechanism, response))
}

/// The string before the first NUL, and what follows the NUL.
pub(super) fn read_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at_checked(end)?;
    Some((text, rest.get(1..)?))
}

/// Our own messages are a few KiB, or as long as a bounded password: the length fits.
fn length_word(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() + 4;
    let mut bytes = Vec::with_capacity(length + 1);
    bytes.push(kind);
    bytes.extend_from_slice(&length_word(length));
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

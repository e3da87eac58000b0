//! The messages that we send to servers in our own name. Each function appends one message.

use super::view::Bind;

/// Appends a message with this tag and the body that `write` appends.
///
/// A body is bounded by what its parts came in, so its length always fits the length word; a
/// length that did not would be cut off at the word's end and refused by the server.
fn message(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    untagged(out, write);
}

fn untagged(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(word) = out.get_mut(start..start + 4) {
        word.copy_from_slice(&len.to_be_bytes());
    }
}

fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}

/// A startup packet for protocol 3.0 with these parameters.
pub fn startup<'a>(out: &mut Vec<u8>, parameters: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) {
    untagged(out, |out| {
        out.extend_from_slice(&196_608_u32.to_be_bytes());
        for (name, value) in parameters {
            cstr(out, name);
            cstr(out, value);
        }
        out.push(0);
    });
}

/// A request for TLS.
pub fn ssl(out: &mut Vec<u8>) {
    untagged(out, |out| out.extend_from_slice(&80_877_103_u32.to_be_bytes()));
}

/// A cancel request for the holder of this key.
pub fn cancel(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    untagged(out, |out| {
        out.extend_from_slice(&80_877_102_u32.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// A simple Query.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, b'Q', |out| cstr(out, text));
}

/// A statement with parameters as text: Parse, Bind, Execute and Sync without names.
pub fn statement(out: &mut Vec<u8>, sql: &str, parameters: &[&str]) {
    message(out, b'P', |out| {
        out.push(0);
        cstr(out, sql.as_bytes());
        out.extend_from_slice(&[0; 2]); // the server finds out the types
    });
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    message(out, b'B', |out| {
        out.extend_from_slice(&[0; 4]); // no names, all as text
        let count = u16::try_from(parameters.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for parameter in parameters {
            out.extend_from_slice(&length(parameter.len()));
            out.extend_from_slice(parameter.as_bytes());
        }
        out.extend_from_slice(&[0; 2]); // rows as text
    });
    message(out, b'E', |out| out.extend_from_slice(&[0; 5])); // all rows
    sync(out);
}

/// A Parse under this name; `identity` is what follows the name in the body.
pub fn parse(out: &mut Vec<u8>, name: &[u8], identity: &[u8]) {
    message(out, b'P', |out| {
        cstr(out, name);
        out.extend_from_slice(identity);
    });
}

/// The start of a Parse message of `body_len` bytes as the client sent it, with `name` in the
/// place of `before`. The rest of the client's body follows verbatim.
pub fn parse_start(out: &mut Vec<u8>, body_len: usize, before: &[u8], name: &[u8]) {
    let len = (body_len + 4 + name.len()).saturating_sub(before.len());
    out.push(b'P');
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    cstr(out, name);
}

/// The start of a Bind message of `body_len` bytes as the client sent it, with another
/// statement name: tag, length and both names. The rest of the client's body follows verbatim.
pub fn bind_start(out: &mut Vec<u8>, bind: &Bind<'_>, body_len: usize, statement: &[u8]) {
    let len = (body_len + 4 + statement.len()).saturating_sub(bind.statement.len());
    out.push(b'B');
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    cstr(out, bind.portal);
    cstr(out, statement);
}

/// A Describe of a prepared statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'D', |out| {
        out.push(b'S');
        cstr(out, name);
    });
}

/// A Close of a prepared statement.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', |out| {
        out.push(b'S');
        cstr(out, name);
    });
}

/// A Bind of a statement without parameters, with results as text.
pub fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    message(out, b'B', |out| {
        cstr(out, portal);
        cstr(out, statement);
        out.extend_from_slice(&[0; 6]);
    });
}

/// An Execute without a limit.
pub fn execute(out: &mut Vec<u8>, portal: &[u8]) {
    message(out, b'E', |out| {
        cstr(out, portal);
        out.extend_from_slice(&[0; 4]);
    });
}

/// A Close of a portal.
pub fn close_portal(out: &mut Vec<u8>, name: &[u8]) {
    message(out, b'C', |out| {
        out.push(b'P');
        cstr(out, name);
    });
}

/// A CopyFail.
pub fn copy_fail(out: &mut Vec<u8>, why: &[u8]) {
    message(out, b'f', |out| cstr(out, why));
}

/// A Flush.
pub fn flush(out: &mut Vec<u8>) {
    message(out, b'H', |_| {});
}

/// A Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(out, b'S', |_| {});
}

/// A Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, b'X', |_| {});
}

/// A password, or a step of SASL after the first: the same tag with an opaque body.
pub fn password(out: &mut Vec<u8>, body: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(body));
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;

    #[test]
    fn rewritten_bind_keeps_its_length_true() {
        let body = b"portal\0old\0\0\0\0\0\0\0";
        let bind = Bind::read(body).unwrap();
        for name in [&b""[..], b"x", b"a_much_longer_name"] {
            let mut out = Vec::new();
            bind_start(&mut out, &bind, body.len(), name);
            out.extend_from_slice(&body[bind.names_len..]);
            let (header, rewritten) = frame::message(&out, u32::MAX).unwrap().unwrap();
            assert_eq!(header.message_len(), out.len());
            let again = Bind::read(rewritten).unwrap();
            assert_eq!((again.portal, again.statement), (&b"portal"[..], name));
        }
    }

    #[test]
    fn messages_declare_their_length() {
        let mut out = Vec::new();
        query(&mut out, b"select 1");
        parse(&mut out, b"p", b"select 1\0\0\0");
        describe_statement(&mut out, b"p");
        close_statement(&mut out, b"p");
        bind(&mut out, b"p", b"s");
        execute(&mut out, b"p");
        close_portal(&mut out, b"p");
        flush(&mut out);
        terminate(&mut out);
        let mut tags = Vec::new();
        let mut rest = &out[..];
        while let Some((header, _)) = frame::message(rest, 1000).unwrap() {
            tags.push(header.tag);
            rest = &rest[header.message_len()..];
        }
        assert_eq!((tags.as_slice(), rest.len()), (&b"QPDCBECHX"[..], 0));
    }
}

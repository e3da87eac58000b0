//! Views of bodies: they are parts of the body, and a body that is cut is never taken for whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::request;
use pgweir::wire::view::{
    Bind, Parse, Target, backend_key, error_field, parameter_status, query_text,
};

fuzz_target!(|data: &[u8]| {
    if let Some(parse) = Parse::read(data) {
        assert_eq!([parse.name, b"\0", parse.identity].concat(), data);
        assert!(parse.identity.starts_with(parse.text));
        let mut message = Vec::new();
        request::parse(&mut message, b"other", parse.identity);
        let renamed = Parse::read(&message[5..]).unwrap();
        assert_eq!((renamed.name, renamed.identity), (&b"other"[..], parse.identity));
        (0..data.len()).for_each(|cut| assert_eq!(Parse::read(&data[..cut]), None));
    }
    if let Some(bind) = Bind::read(data) {
        let names = [bind.portal, b"\0", bind.statement, b"\0"].concat();
        assert_eq!(names, data[..bind.names_len]);
        // With another statement's name its declared length is still its length.
        let mut message = Vec::new();
        request::bind_start(&mut message, &bind, data.len(), b"other");
        message.extend(&data[bind.names_len..]);
        let declared = u32::from_be_bytes(message[1..5].try_into().unwrap());
        assert_eq!(declared as usize + 1, message.len());
    }
    match Target::read(data) {
        Some(Target::Statement(name)) => assert_eq!([b"S", name, b"\0"].concat(), data),
        Some(Target::Portal(name)) => assert_eq!([b"P", name, b"\0"].concat(), data),
        None => {}
    }
    if let Some(text) = query_text(data) {
        assert!(text.len() + 1 == data.len() && !text.contains(&0));
    }
    if let Some((name, value)) = parameter_status(data) {
        assert_eq!([name, b"\0", value, b"\0"].concat(), data);
    }
    if let Some((_, secret)) = backend_key(data) {
        assert!((4..=256).contains(&secret.len()) && secret.len() + 4 == data.len());
    }
    for code in [b'C', b'S', b'M', b'V', 0] {
        let found = error_field(data, code);
        assert!(found.is_none_or(|value| !value.contains(&0) && value.len() < data.len()));
        // A cut body has no other value.
        let cut = error_field(&data[..data.len() / 2], code);
        assert!(cut.is_none() || cut == found);
    }
});

//! Where messages end: never beyond what is there, and never elsewhere for bytes that come in
//! pieces. Two bytes of the input give the limit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::wire::frame::{HEADER_LEN, header, message};

fuzz_target!(|data: &[u8]| {
    let Some((limit, mut bytes)) = data.split_first_chunk::<2>() else { return };
    let limit = u32::from(u16::from_be_bytes(*limit));
    loop {
        let whole = header(bytes, limit);
        assert_eq!(header(&bytes[..bytes.len().min(HEADER_LEN)], limit), whole);
        if bytes.len() < HEADER_LEN {
            assert_eq!(whole, Ok(None));
        }
        let found = match message(bytes, limit) {
            Ok(found) => found,
            Err(error) => return assert_eq!(whole, Err(error)),
        };
        let Some((header, body)) = found else { return };
        assert_eq!(Ok(Some(header)), whole);
        assert_eq!((header.tag, header.body_len), (bytes[0], body.len()));
        assert!(header.body_len + 4 <= limit as usize);
        assert_eq!(message(&bytes[..header.message_len() - 1], limit), Ok(None));
        bytes = &bytes[header.message_len()..];
    }
});

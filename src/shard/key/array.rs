//! Arrays of keys, as in `= ANY($1)`: in the binary form, or as text.

use super::{Format, Key, KeyType, NotAKey, trimmed};

/// Calls `found` with each key of an array. `oid` is the type of the array, or 0 where it is not known.
///
/// # Errors
///
/// It is no array of such keys, or not certainly one; or `found` fails.
pub fn each_key<E: From<NotAKey>>(
    kind: KeyType,
    oid: u32,
    format: Format,
    value: &[u8],
    mut found: impl FnMut(Key<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if oid != 0 && !kind.array_oids().contains(&oid) {
        return Err(NotAKey::OtherType(kind, oid).into());
    }
    match format {
        Format::Text => text(kind, value, &mut found),
        Format::Binary => binary(kind, value, &mut found),
    }
}

fn binary<E: From<NotAKey>>(
    kind: KeyType,
    value: &[u8],
    found: &mut impl FnMut(Key<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let invalid = NotAKey::Invalid(kind);
    let mut rest = value;
    let word = |rest: &mut &[u8]| -> Result<i32, NotAKey> {
        let (word, behind) = rest.split_first_chunk().ok_or(invalid)?;
        *rest = behind;
        Ok(i32::from_be_bytes(*word))
    };
    let (dimensions, _nulls, element) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
    match dimensions {
        0 => return Ok(()),
        1 => {}
        _ => return Err(NotAKey::Unclear(kind).into()),
    }
    let (count, _first) = (word(&mut rest)?, word(&mut rest)?);
    let element = u32::try_from(element).unwrap_or_default();
    for _ in 0..count {
        let Ok(len) = usize::try_from(word(&mut rest)?) else {
            found(Key::Null)?;
            continue;
        };
        let (value, behind) = rest.split_at_checked(len).ok_or(invalid)?;
        rest = behind;
        found(Key::of_parameter(kind, element, Format::Binary, Some(value))?)?;
    }
    Ok(())
}

/// `{1, 2, NULL}`, `{"a b",c}`: of one dimension, and without backslashes.
fn text<E: From<NotAKey>>(
    kind: KeyType,
    value: &[u8],
    found: &mut impl FnMut(Key<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let [b'{', inside @ .., b'}'] = trimmed(value) else {
        return Err(NotAKey::Unclear(kind).into());
    };
    let mut rest = trimmed(inside);
    if rest.is_empty() {
        return Ok(());
    }
    loop {
        let (element, quoted, behind) = element(rest).ok_or(NotAKey::Unclear(kind))?;
        match quoted || !element.eq_ignore_ascii_case(b"null") {
            true => found(Key::of_text(kind, element)?)?,
            false => found(Key::Null)?,
        }
        match behind {
            [] => return Ok(()),
            [b',', behind @ ..] => rest = trimmed(behind),
            _ => return Err(NotAKey::Unclear(kind).into()),
        }
    }
}

/// The element at the start, whether it is in quotes, and what is behind it.
fn element(text: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    if let [b'"', inside @ ..] = text {
        let end = inside.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (element, behind) = inside.split_at_checked(end)?;
        return match behind {
            [b'"', behind @ ..] => Some((element, true, trimmed(behind))),
            _ => None,
        };
    }
    let end = memchr::memchr(b',', text).unwrap_or(text.len());
    let (element, behind) = text.split_at_checked(end)?;
    let element = trimmed(element);
    let plain = !element.is_empty() && !element.iter().any(|byte| b"{}\"\\".contains(byte));
    plain.then_some((element, false, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(kind: KeyType, format: Format, value: &[u8]) -> Result<Vec<String>, NotAKey> {
        let mut keys = Vec::new();
        each_key(kind, 0, format, value, |key| {
            keys.push(key.to_string());
            Ok(())
        })
        .map(|()| keys)
    }

    #[test]
    fn arrays_are_read_in_both_formats() {
        for (kind, value, expected) in [
            (KeyType::Int8, "{1,-2 , 3}", Some(&["1", "-2", "3"][..])),
            (KeyType::Int8, " {} ", Some(&[])),
            (KeyType::Int8, "{1,NULL,null}", Some(&["1", "NULL", "NULL"])),
            (KeyType::Text, "{a b,\"c,d\",\"NULL\",\"\"}", Some(&["a b", "c,d", "NULL", ""])),
            (KeyType::Int8, "{1,}", None),
            (KeyType::Int8, "{{1},{2}}", None),
            (KeyType::Int8, "[1:1]={1}", None),
            (KeyType::Int8, "{1", None),
            (KeyType::Int8, "1", None),
            (KeyType::Int8, "{x}", None),
            (KeyType::Text, "{\"a\\\"b\"}", None),
            (KeyType::Text, "{a\\b}", None),
            (KeyType::Text, "{\"a\"b}", None),
            (KeyType::Text, "{\"a}", None),
        ] {
            let found = keys(kind, Format::Text, value.as_bytes()).ok();
            let found: Option<Vec<&str>> =
                found.as_ref().map(|keys| keys.iter().map(String::as_str).collect());
            assert_eq!(found.as_deref(), expected, "{value}");
        }
        let words = |words: &[i32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let binary = |value: Vec<u8>| keys(KeyType::Int8, Format::Binary, &value);
        assert_eq!(binary(words(&[0, 0, 20])), Ok(vec![]));
        let three = words(&[1, 1, 23, 3, 1, 4, 7, -1, 4, -8]);
        assert_eq!(binary(three), Ok(vec!["7".to_owned(), "NULL".to_owned(), "-8".to_owned()]));
        assert_eq!(binary(words(&[1, 0, 23, 2, 1, 4, 7])), Err(NotAKey::Invalid(KeyType::Int8)));
        assert_eq!(binary(words(&[2, 0, 23, 0, 1])), Err(NotAKey::Unclear(KeyType::Int8)));
        let float = binary(words(&[1, 0, 701, 1, 1, 8, 0, 0]));
        assert_eq!(float, Err(NotAKey::OtherType(KeyType::Int8, 701)));
    }

    #[test]
    fn array_of_another_type_is_none() {
        let found = each_key(KeyType::Int8, 1231, Format::Text, b"{1}", |_| Ok::<(), NotAKey>(()));
        assert_eq!(found, Err(NotAKey::OtherType(KeyType::Int8, 1231)));
    }
}

//! Requests that are whole, and what is found of the texts in them: each is looked at once, however often
//! it is bound, and all together up to a bound, so that nobody's request holds up those of others.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

use ahash::RandomState;

use crate::wire::frame;

/// How many bytes of texts are looked at for one request: what is prepared by name is not part of it.
const TEXTS_MAX: usize = 4 * 1024 * 1024;
/// How many there may be with each text as often as it is bound. Requests of honest clients, which are at
/// most `request_buffer_size` long, stay far below.
const ALL_TEXTS_MAX: usize = 32 * 1024 * 1024;

/// Whether a request ends with a message of this kind.
pub(super) fn ends_request(tag: u8) -> bool {
    matches!(tag, b'Q' | b'S' | b'H' | b'F' | b'X')
}

/// Whether all of a request is there, or what can't be one.
pub(super) fn is_whole(mut bytes: &[u8], message_max: u32) -> bool {
    loop {
        match frame::message(bytes, message_max) {
            Ok(Some((header, _))) if !ends_request(header.tag) => {
                bytes = bytes.get(header.message_len()..).unwrap_or_default();
            }
            Ok(Some(_)) | Err(_) => return true,
            Ok(None) => return false,
        }
    }
}

/// What there is by keys of which a request has one, as a rule: that takes no allocation.
#[derive(Debug)]
pub(super) struct Few<K, V> {
    last: Option<(K, V)>,
    /// Those before the last.
    more: Option<HashMap<K, V, RandomState>>,
}

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self { last: None, more: None }
    }
}

impl<K: Eq + Hash, V> Few<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some((before, value)) = self.last.replace((key, value)) {
            self.more.get_or_insert_default().insert(before, value);
        }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        match &self.last {
            Some((last, value)) if last.borrow() == key => Some(value),
            _ => self.more.as_ref()?.get(key),
        }
    }
}

/// What was found of the texts of one request, by where they are.
#[derive(Debug)]
pub(super) struct Once<T> {
    found: Few<Place, T>,
    bytes: usize,
    all_bytes: usize,
}

/// Where a text begins, and how long it is: all of them are there as long as the request.
type Place = (usize, usize);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { found: Few::default(), bytes: 0, all_bytes: 0 }
    }
}

impl<T: Clone> Once<T> {
    /// What there is to find of a text; `None` if the request has too many.
    pub(super) fn of(&mut self, text: &[u8], find: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.of_known(text, |_| None, find)
    }

    /// The same, where it may be known without a look.
    pub(super) fn of_known(
        &mut self,
        text: &[u8],
        known: impl FnOnce(&[u8]) -> Option<T>,
        find: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        self.all_bytes += text.len();
        if self.all_bytes > ALL_TEXTS_MAX {
            return None;
        }
        if let Some(known) = known(text) {
            return Some(known);
        }
        let place = (text.as_ptr().addr(), text.len());
        if let Some(found) = self.found.get(&place) {
            return Some(found.clone());
        }
        self.bytes += text.len();
        if self.bytes > TEXTS_MAX {
            return None;
        }
        let found = find(text);
        self.found.insert(place, found.clone());
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_looked_at_once() {
        let texts: Vec<Vec<u8>> = (0..3_u8).map(|n| vec![n; 10]).collect();
        let (mut once, mut looks) = (Once::default(), 0);
        for text in texts.iter().cycle().take(3000) {
            let found = once.of(text, |text| {
                looks += 1;
                text.first().copied()
            });
            assert_eq!(found, Some(text.first().copied()));
        }
        assert_eq!(looks, 3);
    }

    #[test]
    fn text_that_is_bound_all_the_time_is_looked_at_up_to_a_bound() {
        let text = vec![0; 250_000];
        let mut once = Once::default();
        let found = (0..15_000).filter(|_| once.of(&text, |_| ()).is_some()).count();
        assert_eq!(found, ALL_TEXTS_MAX / text.len());
    }

    #[test]
    fn texts_are_looked_at_up_to_a_bound() {
        let texts: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n; 1024 * 1024]).collect();
        let mut once = Once::default();
        let found: Vec<_> = texts.iter().map(|text| once.of(text, |_| ()).is_some()).collect();
        assert_eq!(found, [true, true, true, true, false, false]);
    }
}

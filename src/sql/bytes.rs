//! What bytes of SQL are, by themselves.

/// What a token may begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Blank,
    /// It goes on as a word.
    Word,
    Digit,
    Quote,
    DoubleQuote,
    /// It begins a parameter, a string in dollars, or nothing.
    Dollar,
    /// It may begin a comment.
    Remark,
    /// It stands for itself, and a literal may follow.
    Before,
    /// It stands for itself.
    Other,
}

#[expect(clippy::indexing_slicing, reason = "it is made when it is compiled")]
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let character = byte as u8;
        classes[byte] = match character {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'-' | b'/' => Class::Remark,
            b'(' | b',' | b'=' | b'<' | b'>' | b'+' | b'*' | b'|' | b'[' | b':' | b'%' => {
                Class::Before
            }
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

#[inline]
pub(super) fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

/// What words go on with.
const IN_WORDS: [bool; 256] = of(&[Class::Word, Class::Digit, Class::Dollar]);
/// What neither is nor hides a literal by itself.
const PLAIN: [bool; 256] = of(&[Class::Word, Class::Blank, Class::Before, Class::Other]);

/// The bytes of these classes.
#[expect(clippy::indexing_slicing, reason = "it runs when it is compiled")]
const fn of(classes: &[Class]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut at = 0;
        while at < classes.len() {
            table[byte] |= CLASSES[byte] as u8 == classes[at] as u8;
            at += 1;
        }
        byte += 1;
    }
    table
}

/// Whether a word that has begun goes on with this byte.
#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    is_in(&IN_WORDS, byte)
}

/// How many of these bytes a word has that has begun before them.
#[inline]
pub(super) fn word_len(bytes: &[u8]) -> usize {
    len_of(bytes, &IN_WORDS)
}

/// How many of these bytes stand for themselves or are in words, up to the first digit in a word.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    len_of(bytes, &PLAIN)
}

#[inline]
fn is_in(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or(false)
}

#[inline]
fn len_of(bytes: &[u8], table: &[bool; 256]) -> usize {
    let mut len = 0;
    while let Some(&byte) = bytes.get(len)
        && is_in(table, byte)
    {
        len += 1;
    }
    len
}

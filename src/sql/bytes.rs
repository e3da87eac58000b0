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

/// Whether a word that has begun goes on with this byte.
#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    matches!(class(byte), Class::Word | Class::Digit | Class::Dollar)
}

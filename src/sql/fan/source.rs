//! A text as tokens and as what it was, so that pieces of it can be told apart, compared and taken
//! over as they are written.

use std::ops::Range;

use sqlparser::ast::Expr;

use crate::sql::keys::{Numbered, piece};
use crate::sql::scan::Token;

/// Tokens, by their numbers.
pub(super) type Span = Range<usize>;

/// A text of one statement.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: &'a Numbered<'a>,
}

impl<'a> Source<'a> {
    /// How many tokens there are.
    pub(super) fn len(self) -> usize {
        self.tokens.tokens.len()
    }

    pub(super) fn token(self, at: usize) -> Option<Token<'a>> {
        self.tokens.tokens.get(at).map(|(token, _)| *token)
    }

    pub(super) fn is(self, at: usize, word: &str) -> bool {
        self.tokens.is(at, word)
    }

    pub(super) fn is_symbol(self, at: usize, byte: u8) -> bool {
        self.token(at) == Some(Token::Symbol(byte))
    }

    /// Where a token begins in the text.
    pub(super) fn start(self, at: usize) -> usize {
        self.tokens.places.get(at).map_or(self.text.len(), |place| place.start)
    }

    /// Where the token before this one ends in the text.
    pub(super) fn end(self, at: usize) -> usize {
        at.checked_sub(1).and_then(|at| self.tokens.places.get(at)).map_or(0, |place| place.end)
    }

    /// What is written there.
    pub(super) fn raw(self, span: &Span) -> &'a str {
        self.text.get(self.start(span.start)..self.end(span.end)).unwrap_or_default()
    }

    /// The value of this number, as it is written.
    pub(super) fn value(self, number: &str) -> Option<&'a str> {
        let at = *self.tokens.values.get(number.parse::<usize>().ok()?)?;
        Some(self.raw(&(at..at + 1)))
    }

    /// The expression that these tokens are.
    pub(super) fn expr(self, span: &Span) -> Option<Expr> {
        let start = self.tokens.tokens.get(span.start)?.1;
        let end = self.tokens.tokens.get(span.end).map_or(self.tokens.text.len(), |next| next.1);
        let text = self.tokens.text.get(start..end)?;
        piece(text, |parser| parser.parse_expr().ok())
    }

    /// Whether both are written alike, but for blanks, comments, and the case of words.
    pub(super) fn same(self, one: &Span, other: &Span) -> bool {
        let touches = |at: usize| self.start(at) == self.end(at);
        let is_symbol = |token| matches!(token, Some(Token::Symbol(_)));
        one.len() == other.len()
            && one.clone().zip(other.clone()).all(|(left, right)| {
                let first = left == one.start;
                match (self.token(left), self.token(right)) {
                    (Some(Token::Word(one)), Some(Token::Word(other))) => {
                        one.eq_ignore_ascii_case(other)
                    }
                    (Some(Token::Value), Some(Token::Value)) => {
                        self.raw(&(left..left + 1)) == self.raw(&(right..right + 1))
                    }
                    (a, b) if is_symbol(a) && is_symbol(b) => {
                        a == b && (first || touches(left) == touches(right))
                    }
                    (one, other) => one == other,
                }
            })
    }

    /// Without brackets around it.
    pub(super) fn bare(self, span: &Span) -> Span {
        let mut span = span.clone();
        while span.len() > 2
            && self.is_symbol(span.start, b'(')
            && self.closing(span.start) == Some(span.end - 1)
        {
            span = span.start + 1..span.end - 1;
        }
        span
    }

    /// The bracket that closes the one here.
    pub(super) fn closing(self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        (open..self.len()).find(|at| {
            depth = self.deeper(*at, depth);
            depth == 0
        })
    }

    fn deeper(self, at: usize, depth: usize) -> usize {
        match self.token(at) {
            Some(Token::Symbol(b'(' | b'[')) => depth + 1,
            Some(Token::Symbol(b')' | b']')) => depth.saturating_sub(1),
            _ => depth,
        }
    }

    /// The tokens that are in no brackets of these.
    pub(super) fn outside(self, span: &Span) -> impl Iterator<Item = usize> + use<'a> {
        let mut depth = 0;
        span.clone().filter(move |at| {
            let before = depth;
            depth = self.deeper(*at, depth);
            before == 0 && depth == 0
        })
    }

    /// The pieces between tokens that separate them, outside of brackets.
    pub(super) fn split(self, span: &Span, separates: impl Fn(usize) -> bool) -> Vec<Span> {
        let mut pieces = Vec::new();
        let mut start = span.start;
        for at in self.outside(span).filter(|at| separates(*at)) {
            pieces.push(start..at);
            start = at + 1;
        }
        pieces.push(start..span.end);
        pieces
    }

    /// The parameters among these.
    pub(super) fn parameters(self, span: &Span) -> impl Iterator<Item = u16> + use<'a> {
        span.clone().filter_map(move |at| {
            let value = self.token(at).filter(|token| *token == Token::Value);
            value.and_then(|_| is_parameter(self.raw(&(at..at + 1))))
        })
    }
}

/// The number of a parameter.
pub(super) fn is_parameter(raw: &str) -> Option<u16> {
    raw.strip_prefix('$')?.parse().ok().filter(|number| *number > 0)
}

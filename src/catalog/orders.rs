//! How a database orders and writes values, as far as it decides whether rows of several servers can be
//! put in one order.

/// What holds for all values of columns, and of domains. Nothing where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Text is ordered by its bytes, in every column.
    pub by_bytes: bool,
    /// Texts of different bytes are different, in every column.
    pub deterministic: bool,
    /// Floats are written with all of their digits, where nobody says otherwise.
    pub exact_floats: bool,
}

/// The question, whose answers are those, in their order.
pub(super) const QUESTION: &str = "SELECT (SELECT CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') \
     WHEN 'c' THEN d.datcollate IN ('C', 'POSIX') \
     WHEN 'b' THEN to_jsonb(d) ->> 'datlocale' IN ('C', 'C.UTF-8') ELSE false END \
     FROM pg_database d WHERE d.datname = current_database()) AND NOT EXISTS (SELECT FROM pg_attribute a \
     JOIN pg_collation c ON c.oid = a.attcollation AND c.collname NOT IN ('default', 'C', 'POSIX', 'ucs_basic') \
     WHERE a.attnum > 0 AND NOT a.attisdropped) AND NOT EXISTS (SELECT FROM pg_type t \
     JOIN pg_collation c ON c.oid = t.typcollation AND c.collname NOT IN ('default', 'C', 'POSIX', 'ucs_basic')), \
     NOT EXISTS (SELECT FROM pg_collation c WHERE to_jsonb(c) ->> 'collisdeterministic' = 'false'), \
     current_setting('extra_float_digits')::int > 0 AND NOT EXISTS (SELECT FROM pg_db_role_setting s, \
     unnest(s.setconfig) c WHERE c LIKE 'extra\\_float\\_digits=%')";

impl Orders {
    /// From those answers.
    pub(super) fn new<'s>(mut answers: impl Iterator<Item = Option<&'s str>>) -> Self {
        let mut next = || answers.next().flatten() == Some("t");
        Self { by_bytes: next(), deterministic: next(), exact_floats: next() }
    }

    /// What holds in two databases.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            by_bytes: self.by_bytes && other.by_bytes,
            deterministic: self.deterministic && other.deterministic,
            exact_floats: self.exact_floats && other.exact_floats,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_does_not_hold() {
        let some = Orders { by_bytes: true, deterministic: false, exact_floats: true };
        assert_eq!(Orders::new([Some("t"), Some("f"), Some("t")].into_iter()), some);
        assert_eq!(Orders::new([None, Some("")].into_iter()), Orders::default());
        let other = Orders { by_bytes: true, deterministic: true, exact_floats: false };
        assert_eq!(some.and(other), Orders { by_bytes: true, ..Orders::default() });
    }
}

//! Why rows of several shards can't be put together.

use thiserror::Error;

/// Why. Whose fault it is differs: a query may ask for what can't be done, and servers may send what
/// nobody can put together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Shards describe their rows in different ways (0A000).
    #[error("shards give rows of different columns or types")]
    Differs,
    /// Copies of rows that are to be the same on all shards are not (55000).
    #[error("shards have different rows of a table that is to be the same on all of them")]
    Apart,
    /// Rows of a shard are not in the order that they were asked for in: it orders values in another way than
    /// the default shard (0A000).
    #[error(
        "a shard orders values in another way than the default one; collations have to be the same"
    )]
    Unsorted,
    /// There is no column of this name to order by (0A000).
    #[error(
        "the order is by {0}, which is no column of the result; write the table's name before it"
    )]
    NoColumn(String),
    /// Values of this type (OID) can't be put in order here (0A000).
    #[error("values of the type with the number {0} can't be ordered over several shards")]
    NoOrder(u32),
    /// Text is not ordered by its bytes (0A000).
    #[error(
        "text is not ordered by its bytes, so that it can't be ordered over several shards; \
         order by it with COLLATE \"C\""
    )]
    Collation,
    /// Whether values of this type (OID) are equal can't be told from their text (0A000).
    #[error(
        "values of the type with the number {0} can't be told apart over several shards; \
         cast them, as to text or numeric(20, 4)"
    )]
    NotTold(u32),
    /// Aggregates of this type (OID) can't be put together exactly (0A000).
    #[error(
        "aggregates of the type with the number {0} can't be put together over several shards; \
         cast what they are of, as to numeric"
    )]
    Inexact(u32),
    /// Text does not come in the encoding that it is ordered in (0A000).
    #[error("text can be ordered over several shards with the server's own client_encoding alone")]
    Encoding,
    /// Dates are not written in the ISO style (0A000).
    #[error("dates can be ordered over several shards with DateStyle ISO alone")]
    DateStyle,
    /// Floats are written with fewer digits than they have (0A000).
    #[error("floats can be ordered over several shards with extra_float_digits of 1 or more alone")]
    InexactFloats,
    /// A parameter that is compared is no plain number (0A000).
    #[error("parameter ${0} is no number of a type that can be compared over several shards")]
    Parameter(u16),
    /// LIMIT is negative (2201W).
    #[error("LIMIT must not be negative")]
    NegativeLimit,
    /// OFFSET is negative (2201X).
    #[error("OFFSET must not be negative")]
    NegativeOffset,
    /// An aggregate is beyond the range of its type (22003).
    #[error("{0} out of range")]
    OutOfRange(&'static str),
    /// More would have to be kept in memory than is allowed (53400).
    #[error("more than {0} bytes would have to be kept to put the rows of several shards together")]
    TooLarge(usize),
    /// A server has sent what is no row of what it has described (08P01).
    #[error("a server has sent a row that is none of what it has described")]
    Broken,
}

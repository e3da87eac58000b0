//! Why a text can't be run on shards, and what to do about it.

use std::fmt;

use crate::sql::facts::Name;

/// Why (0A000). Shown, it names the table, the construct and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The table that it is about, where it is about one.
    pub table: Option<Name>,
    /// What can't be done.
    pub construct: Construct,
}

macro_rules! constructs {
    ($($list:ident { $($variant:ident, $text:literal, $way_out:literal;)* })*) => {
        /// What can't be run on shards.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Construct {
            $($(#[doc = $text] $variant,)*)*
        }

        impl Construct {
            $(
                /// Those that are found where plans, changes or fans are looked for.
                pub const $list: &[Self] = &[$(Self::$variant,)*];
            )*

            /// One word for it.
            pub fn name(self) -> &'static str {
                match self { $($(Self::$variant => stringify!($variant),)*)* }
            }

            /// What it is.
            pub fn text(self) -> &'static str {
                match self { $($(Self::$variant => $text,)*)* }
            }

            /// What can be done about it.
            pub fn way_out(self) -> &'static str {
                match self { $($(Self::$variant => $way_out,)*)* }
            }
        }
    };
}

constructs! {
    PLANS {
        Text, "a text that can't be taken apart with certainty",
            "Leave out U&'…', backslashes before quotes, and numbers such as 0x1F and 1_000.";
        Size, "a text that is too long or too deeply nested", "Make several statements of it.";
        Grammar, "a statement that is not in the grammar known here", "Write it in plainer words.";
        FromItem, "an item in FROM that is not known here", "Write it in plainer words.";
        Unclear, "a name that may stand for tables of different kinds",
            "Write the table's schema before its name; ask for the tables behind a view.";
        AcrossKeys, "rows of different keys in one statement",
            "Join the tables on their key columns, or compare the key of each with the same value.";
        WithDefault, "a table that is on the default shard alone, together with sharded ones",
            "Ask for it in a statement of its own, or have it on every shard, as a reference table.";
        ReferenceWritten, "a write to a reference table that depends on other tables",
            "Read first, and write what was found.";
        OuterReference, "an outer join that keeps rows which every shard has",
            "Compare the key of the sharded table with a value.";
        FullJoin, "a FULL JOIN over several shards", "Compare the key with a value.";
        OnlyInSubquery, "a sharded table in a subquery alone",
            "Compare its key column with a value, or join it in FROM.";
        Scalar, "a subquery in the place of a value over several shards",
            "Compare the key column with a value in it, or use IN.";
        Limit, "LIMIT in a subquery over several shards", "Compare the key column with a value in it.";
        Distinct, "DISTINCT in a subquery over several shards",
            "Compare the key column with a value in it, or select the key as well.";
        Grouped, "groups in a subquery over several shards",
            "Compare the key column with a value in it, or group by the key as well.";
        Window, "a window function in a subquery over several shards",
            "Compare the key column with a value in it, or partition by the key.";
        SetOperation, "UNION, INTERSECT or EXCEPT over several shards",
            "Compare the key column with a value in each of its queries.";
        Recursive, "a recursive query over several shards",
            "Compare the key column with a value in both of its queries.";
        ConflictApart, "ON CONFLICT with columns that the key is not one of, of which each shard knows its own rows alone",
            "Have the key column in the unique index, and name it: ON CONFLICT (key, …); or say where: /* pgweir: shard_key=… */.";
        RowsApart, "rows of several shards in one statement", "Store the rows of each key by themselves.";
        InsertWithoutColumns, "an INSERT or COPY without a list of columns", "Name the columns.";
        InsertWithoutKey, "an INSERT or COPY that leaves the key column out",
            "Give the key column a value.";
        KeyNotPlain, "a key that is neither a literal nor a parameter",
            "Compute it beforehand, and give it as a literal or a parameter.";
        KeyChanged, "a change of a key column", "DELETE the row and INSERT it with its new key.";
        NotMatchedBySource, "MERGE with WHEN NOT MATCHED BY SOURCE", "Make an UPDATE or DELETE of it.";
        Into, "a table that is made of a sharded one", "CREATE the table, and INSERT into it.";
        Code, "code that can't be looked into", "Run its statements one by one.";
        Prepare, "PREPARE of a statement about sharded tables", "Prepare it by the protocol.";
        Execute, "EXECUTE of what may be about any shard",
            "Execute it by the protocol, or name the shard: /* pgweir: shard=… */.";
        TwoPhase, "a prepared transaction", "Use a transaction on one shard.";
        ServerFile, "COPY from or to a file of the server", "Use STDIN or STDOUT.";
        Several, "statements in one text that belong to different shards", "Send them one by one.";
    }
    COPIES {
        CopyOption, "an option of COPY that is not known here, or that can't be followed",
            "Leave it out; write a backslash as E'\\\\', and delimiters, quotes and NULL in ASCII.";
    }
    CHANGES {
        ChangeShape, "a change of rows of this form over several shards",
            "Write it as one plain INSERT, UPDATE or DELETE, without WITH before it.";
        NoDefinition, "a command of this kind on all shards",
            "Run it on each shard: /* pgweir: shard=… */.";
    }
    FANS {
        Explained, "EXPLAIN over several shards",
            "Explain it on each by itself: /* pgweir: shard=… */; or with the keys of one.";
        Cursor, "a cursor over several shards",
            "Declare one on each by itself: /* pgweir: shard=… */; or ask for page after page, by LIMIT and the last key.";
        CopyOut, "COPY … TO over several shards",
            "Ask with a SELECT, or copy from each by itself: /* pgweir: shard=… */.";
        Shape, "a query of this form over several shards",
            "Write it as one plain SELECT, with columns that are named.";
        Varying, "a function, name or type over several shards that may say different things on each",
            "Compute it beforehand and give it as a parameter, or compare the key with a value.";
        Locks, "FOR UPDATE or FOR SHARE over several shards", "Compare the key column with a value.";
        Computed, "an expression over aggregates of several shards",
            "Select the aggregates by themselves and compute in the application.";
        Aggregate, "an aggregate over several shards other than count, sum, avg, min, max, bool_… and bit_…",
            "Group by the key, or select the rows and aggregate in the application.";
        Outside, "an aggregate in a subquery over several shards that may be of the query around it",
            "Write the name of its table before each column in it, or aggregate in the query around it.";
        GroupKey, "groups over several shards by something else than plain columns and expressions",
            "Group by a column or by the number of a plain expression in the select list.";
        Having, "a condition behind HAVING over several shards",
            "Compare aggregates with numbers there, joined by AND.";
        OrderKey, "an order over several shards by something else than a column or an expression",
            "Order by a column of the result, by its name or number, or by an expression.";
        WindowOver, "a window function over several shards",
            "Partition it by the key, or compare the key column with a value.";
        OverGroups, "DISTINCT ON, or DISTINCT or a window over groups, over several shards",
            "Group by the key, or do it in the application.";
        Parameter, "an order or group by a parameter over several shards",
            "Select what it is in as well, or write its value into the text.";
        Count, "LIMIT or OFFSET over several shards that is neither a number nor a parameter",
            "Give it as a number or a parameter; leave WITH TIES out.";
    }
}

impl Refusal {
    pub(in crate::sql) fn of(construct: Construct) -> Self {
        Self { table: None, construct }
    }

    pub(in crate::sql) fn about(table: &Name, construct: Construct) -> Self {
        Self { table: Some(table.clone()), construct }
    }

    pub(super) fn several() -> Self {
        Self::of(Construct::Several)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(f, "table {table}: ")?;
        }
        write!(f, "{} can't be run on shards; {}", self.construct.text(), self.construct.way_out())
    }
}

//! Loads a catalog: a few questions for everything at once, in one snapshot.

use super::{
    Behind, By, Catalog, Defaults, Function, Hidden, Loaded, Oid, Orders, Overrides, Relation,
    RelationKind, Volatility, key_columns, orders,
};
use crate::server::ask::{AskError, Asker, Row};
use crate::server::connect::Target;
use crate::shard::KeyColumn;

/// What a connection starts with: names mean what they say, whatever a role has been set to.
const SETTINGS: [(&[u8], &[u8]); 3] = [
    (b"search_path", b""),
    (b"client_encoding", b"UTF8"),
    (b"application_name", b"pgweir catalog"),
];

/// Compiling these questions takes longer by far than answering them. Old servers don't know that.
const UNCOMPILED: &str = "SELECT set_config('jit', 'off', false) \
     WHERE current_setting('jit', true) IS NOT NULL";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Of aggregates, the worst of their parts counts, and of functions what the defaults of their
/// arguments call. Methods of TABLESAMPLE are not called.
const FUNCTIONS: &str = "SELECT p.oid, n.nspname, p.proname, \
     CASE WHEN p.provolatile = 'v' OR EXISTS (SELECT FROM pg_aggregate a JOIN pg_proc f ON f.oid IN \
     (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, \
     a.aggminvtransfn, a.aggmfinalfn) WHERE a.aggfnoid = p.oid AND f.provolatile = 'v') \
     OR EXISTS (SELECT FROM \
     regexp_matches(p.proargdefaults::text, ':(?:funcid|opfuncid) (\\d+)', 'g') m \
     JOIN pg_proc f ON f.oid = m[1]::oid WHERE f.provolatile = 'v' \
     OR f.proname IN ('txid_current', 'pg_current_xact_id')) THEN 'v' \
     WHEN n.nspname = 'pg_catalog' AND EXISTS (SELECT FROM pg_operator o WHERE o.oprcode = p.oid) \
     THEN 'i' ELSE p.provolatile END, \
     p.pronargs = 1 AND EXISTS (SELECT FROM pg_type t WHERE t.oid = p.proargtypes[0] \
     AND (t.typtype = 'c' OR t.typname IN ('record', 'anyelement', 'any'))) \
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prokind <> 'p' \
     AND NOT (n.nspname = 'pg_catalog' AND p.prorettype = 'pg_catalog.tsm_handler'::regtype)";

/// Operators, checks of domains, and casts, those of Postgres itself left out. A constraint's
/// functions are in its tree.
const HIDDEN: &str = "SELECT 'o', o.oprname, o.oprcode::oid FROM pg_operator o \
     JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace n ON n.oid = p.pronamespace \
     WHERE n.nspname <> 'pg_catalog' \
     UNION ALL SELECT CASE k.castcontext WHEN 'i' THEN 'i' ELSE 't' END, t.typname, k.castfunc \
     FROM pg_cast k JOIN pg_type t ON t.oid = k.casttarget JOIN pg_proc p ON p.oid = k.castfunc \
     JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog' \
     UNION ALL SELECT 't', t.typname, m[1]::oid FROM pg_constraint c \
     JOIN pg_type t ON t.oid = c.contypid, \
     regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) (\\d+)', 'g') m WHERE c.contypid <> 0";

const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence = 'u' \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S') AND c.relpersistence <> 't' \
     AND n.nspname <> 'pg_toast'";

/// Dependencies on what Postgres itself brings are not recorded; a view's tree has all of them. What is
/// no relation has the number 0 there.
const VIEWS: &str = "SELECT r.ev_class, 'f', r.tree LIKE '%:hasForUpdate true%', \
     x.relations, x.functions \
     FROM (SELECT r.ev_class, r.ev_action::text AS tree FROM pg_rewrite r \
     JOIN pg_class c ON c.oid = r.ev_class WHERE r.ev_type = '1' AND c.relkind = 'v' OFFSET 0) r, \
     LATERAL (SELECT string_agg(DISTINCT m[2], ' ') FILTER (WHERE m[1] = 'relid' AND m[2] <> '0') \
     AS relations, string_agg(DISTINCT m[2], ' ') FILTER (WHERE m[1] <> 'relid') AS functions \
     FROM regexp_matches(r.tree, ':(relid|funcid|opfuncid|aggfnoid|winfnoid) (\\d+)', 'g') m) x";

const POLICIES: &str = "SELECT p.polrelid, 't', false, \
     (SELECT string_agg(DISTINCT m[1], ' ') FROM \
     regexp_matches(p.polqual::text, ':relid ([1-9]\\d*)', 'g') m), \
     (SELECT string_agg(DISTINCT m[1], ' ') FROM regexp_matches(p.polqual::text, \
     ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\\d+)', 'g') m) \
     FROM pg_policy p WHERE p.polcmd IN ('r', '*')";

const PARTS: &str = "SELECT inhparent, 'f', false, string_agg(inhrelid::text, ' '), NULL \
     FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE c.relkind IN ('r', 'f', 'p') GROUP BY 1";

/// What transactions are like where nobody says anything: for everybody first, and what goes before the
/// other last. What the server's files say is seen where nothing else has been said to the one who asks.
const DEFAULTS: &str = "SELECT role, name, value FROM (SELECT '' AS role, name, reset_val AS value, 0 AS rank \
     FROM pg_settings WHERE name IN ('default_transaction_isolation', 'default_transaction_read_only') \
     AND source NOT IN ('database', 'user', 'database user') \
     UNION ALL SELECT coalesce(r.rolname, ''), split_part(c, '=', 1), split_part(c, '=', 2), \
     1 + 2 * (s.setrole <> 0)::int + (s.setdatabase <> 0)::int \
     FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c \
     WHERE c ~ '^default_transaction_(isolation|read_only)=' AND (s.setdatabase = 0 OR s.setdatabase = \
     (SELECT oid FROM pg_database WHERE datname = current_database()))) x ORDER BY rank";

/// A number that is another when something of that which is loaded has changed. Rows are told apart by
/// who has written them (`xmin`) but for relations, whose rows change for other reasons, too.
const IMPRINT: &str = "SELECT concat((SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_proc), ' ', \
     (SELECT sum(hashtext(concat(aggfnoid::oid, ' ', xmin))::bigint) FROM pg_aggregate), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_operator), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_cast), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_type \
     WHERE typtype <> 'c' AND typcategory <> 'A'), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_constraint WHERE contypid <> 0), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_policy), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', xmin))::bigint) FROM pg_rewrite WHERE ev_type = '1'), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', nspname))::bigint) FROM pg_namespace \
     WHERE nspname !~ '^pg_(toast_)?temp_'), ' ', \
     (SELECT sum(hashtext(concat(inhrelid, ' ', inhparent))::bigint) FROM pg_inherits), ' ', \
     (SELECT sum(hashtext(concat(oid, ' ', relnamespace, ' ', relname, ' ', relkind, ' ', \
     relpersistence))::bigint) FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'f', 'p', 'S') \
     AND relpersistence <> 't'), ' ', \
     (SELECT sum(hashtext(concat(setdatabase, ' ', setrole, ' ', setconfig))::bigint) \
     FROM pg_db_role_setting), ' ', current_setting('default_transaction_isolation'), ' ', \
     current_setting('default_transaction_read_only'))";

/// Rows that an answer may have. A database with more objects than that stays unknown.
pub(super) const ROWS_MAX: usize = 500_000;

/// What tells whether a catalog is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imprint(String, Orders, Vec<KeyColumn>);

/// A connection over which a catalog is read, all of it as of the moment at which its imprint is
/// taken.
#[derive(Debug)]
pub struct Reader {
    asker: Asker,
}

impl Reader {
    /// Connects.
    ///
    /// # Errors
    /// As [`AskError`] says. There is no other limit on time than that of connecting.
    pub async fn connect(target: &Target) -> Result<Self, AskError> {
        let mut asker = Asker::connect(target, &SETTINGS).await?;
        asker.ask(UNCOMPILED, &[]).await?;
        Ok(Self { asker })
    }

    /// Takes the imprint: what has been committed by now is in it.
    ///
    /// # Errors
    /// As [`AskError`] says. There is no limit on time.
    pub async fn imprint(&mut self, overrides: &Overrides) -> Result<Imprint, AskError> {
        self.asker.ask(BEGIN, &[]).await?;
        let rows = self.asker.ask(IMPRINT, &[]).await?;
        let imprint = rows.first().and_then(|row| value(row, 0)).ok_or_else(unreadable)?;
        let imprint = imprint.to_owned();
        let columns = key_columns(&mut self.asker, &overrides.columns).await?;
        Ok(Imprint(imprint, self.orders().await?, columns))
    }

    async fn orders(&mut self) -> Result<Orders, AskError> {
        let rows = self.asker.ask(orders::QUESTION, &[]).await?;
        let row = rows.first().ok_or_else(unreadable)?;
        Ok(Orders::new(row.iter().map(Option::as_deref)))
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`AskError`] says. There is no limit on time.
    pub async fn catalog(mut self, overrides: &Overrides) -> Result<Catalog, AskError> {
        let mut loaded = Loaded::default();
        for row in self.asker.ask_many(FUNCTIONS, ROWS_MAX).await? {
            loaded.functions.push(function(&row).ok_or_else(unreadable)?);
        }
        for row in self.asker.ask_many(HIDDEN, ROWS_MAX).await? {
            loaded.hidden.push(hidden(&row).ok_or_else(unreadable)?);
        }
        for row in self.asker.ask_many(RELATIONS, ROWS_MAX).await? {
            loaded.relations.push(relation(&row).ok_or_else(unreadable)?);
        }
        for question in [VIEWS, POLICIES, PARTS] {
            for row in self.asker.ask_many(question, ROWS_MAX).await? {
                loaded.behind.push(behind(&row).ok_or_else(unreadable)?);
            }
        }
        let rows = self.asker.ask_many(DEFAULTS, ROWS_MAX).await?;
        let setting = |row| Some((value(row, 0)?, value(row, 1)?, value(row, 2)?));
        loaded.defaults = Defaults::new(rows.iter().filter_map(setting));
        loaded.orders = self.orders().await?;
        loaded.columns = key_columns(&mut self.asker, &overrides.columns).await?;
        Ok(Catalog::new(loaded, overrides))
    }
}

impl Catalog {
    /// Loads it over a connection of its own.
    ///
    /// # Errors
    /// As [`AskError`] says. There is no other limit on time than that of connecting.
    pub async fn load(target: &Target, overrides: &Overrides) -> Result<Self, AskError> {
        let mut reader = Reader::connect(target).await?;
        reader.imprint(overrides).await?;
        reader.catalog(overrides).await
    }
}

pub(super) fn unreadable() -> AskError {
    AskError::Refused("its catalog is not as expected".to_owned())
}

pub(super) fn value(row: &Row, column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

fn oid(row: &Row, column: usize) -> Option<Oid> {
    value(row, column)?.parse().ok()
}

fn function(row: &Row) -> Option<Function> {
    Some(Function {
        oid: oid(row, 0)?,
        schema: value(row, 1)?.to_owned(),
        name: value(row, 2)?.to_owned(),
        volatility: match value(row, 3)? {
            "i" => Volatility::Immutable,
            "s" => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        is_attribute: value(row, 4)? == "t",
    })
}

fn hidden(row: &Row) -> Option<Hidden> {
    let by = match value(row, 0)? {
        "o" => By::Operator,
        "t" => By::Type,
        _ => By::ImplicitCast,
    };
    Some(Hidden { by, name: value(row, 1)?.to_owned(), function: oid(row, 2)? })
}

fn relation(row: &Row) -> Option<Relation> {
    Some(Relation {
        oid: oid(row, 0)?,
        schema: value(row, 1)?.to_owned(),
        name: value(row, 2)?.to_owned(),
        kind: match value(row, 3)? {
            "v" => RelationKind::View,
            "f" => RelationKind::Foreign,
            "S" => RelationKind::Sequence,
            _ => RelationKind::Table,
        },
        unlogged: value(row, 4)? == "t",
    })
}

fn behind(row: &Row) -> Option<Behind> {
    let relation = oid(row, 0)?;
    let oids = |column: usize| -> Option<Vec<Oid>> {
        let listed = value(row, column).unwrap_or_default().split_ascii_whitespace();
        listed.map(|oid| oid.parse().ok()).collect()
    };
    let mut relations = oids(3)?;
    // A view's tree may name the view itself.
    relations.retain(|oid| *oid != relation);
    Some(Behind {
        relation,
        is_policy: value(row, 1)? == "t",
        locks: value(row, 2)? == "t",
        relations,
        functions: oids(4)?,
    })
}

//! Makes queries up, of all that one may ask several shards for, and some of what one may not.
//!
//! Values that may become parameters are written `«type:value»`.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// A query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Without LIMIT and OFFSET.
    pub text: String,
    /// LIMIT and OFFSET.
    pub limit: String,
    /// In which columns two results in the same order are the same, if it has one.
    pub ordered: Option<Vec<usize>>,
    /// The order says of any two rows which is the first.
    pub total: bool,
}

/// Columns of a relation, with what kind of values they have.
const USERS: &[(&str, Kind)] = &[
    ("id", Kind::Int),
    ("name", Kind::Text),
    ("country", Kind::Text),
    ("age", Kind::Int),
    ("balance", Kind::Scaled),
    ("score", Kind::Float),
    ("active", Kind::Bool),
    ("joined", Kind::Moment),
    ("seen", Kind::Moment),
    ("ref", Kind::Other),
    ("flags", Kind::Int),
];
const ORDERS: &[(&str, Kind)] = &[
    ("id", Kind::Int),
    ("user_id", Kind::Int),
    ("amount", Kind::Scaled),
    ("price", Kind::Numeric),
    ("status", Kind::Text),
    ("placed", Kind::Moment),
    ("qty", Kind::Int),
    ("big", Kind::Int),
    ("code", Kind::Text),
    ("data", Kind::Other),
];
const ITEMS: &[(&str, Kind)] = &[
    ("id", Kind::Int),
    ("user_id", Kind::Int),
    ("order_id", Kind::Int),
    ("qty", Kind::Int),
    ("weight", Kind::Float),
    ("label", Kind::Text),
    ("at", Kind::Moment),
];
const COUNTRIES: &[(&str, Kind)] =
    &[("code", Kind::Text), ("title", Kind::Text), ("zone", Kind::Int)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    /// `numeric` with as many digits behind the point for all.
    Scaled,
    Numeric,
    Float,
    Text,
    Bool,
    Moment,
    Other,
}

type Columns = Vec<(String, Kind)>;

pub struct Maker<'r> {
    pub random: &'r mut StdRng,
}

fn columns(alias: &str, of: &[(&str, Kind)]) -> Columns {
    of.iter().map(|(name, kind)| (format!("{alias}.{name}"), *kind)).collect()
}

impl Maker<'_> {
    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all.choose(self.random).unwrap().clone()
    }

    fn chance(&mut self, of: u32) -> bool {
        self.random.random_ratio(1, of)
    }

    /// A column of one of these kinds, or of any.
    fn column(&mut self, of: &Columns, kinds: &[Kind]) -> String {
        let fit: Columns = of.iter().filter(|(_, kind)| kinds.contains(kind)).cloned().collect();
        if fit.is_empty() { self.one_of(of).0 } else { self.one_of(&fit).0 }
    }

    /// WITH, FROM and its columns; the last is one that tells its rows apart.
    fn source(&mut self) -> (String, String, Columns, &'static str) {
        let text = String::new;
        let (u, o, i, c) = (
            columns("u", USERS),
            columns("o", ORDERS),
            columns("i", ITEMS),
            columns("c", COUNTRIES),
        );
        match self.random.random_range(0..11) {
            0 | 1 => (text(), "users u".into(), u, "u.id"),
            2 | 3 => (text(), "orders AS o".into(), o, "o.id"),
            4 => (text(), "items i".into(), i, "i.id"),
            5 => {
                let join = self.one_of(&["JOIN", "LEFT JOIN"]);
                let from = format!("orders o {join} users u ON o.user_id = u.id");
                (text(), from, [o, u].concat(), "o.id")
            }
            6 => {
                let from =
                    "orders o LEFT JOIN items i ON i.user_id = o.user_id AND i.order_id = o.id";
                (text(), from.into(), [o, i].concat(), "o.id, i.id")
            }
            7 => {
                let from = "users u JOIN countries c ON c.code = u.country /* each */";
                (text(), from.into(), [u, c].concat(), "u.id")
            }
            8 => {
                let d = "(SELECT user_id, sum(amount) AS total, count(*) AS n FROM orders \
                         GROUP BY user_id) d";
                let of = [("d.user_id", Kind::Int), ("d.n", Kind::Int), ("d.total", Kind::Numeric)];
                let of = of.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
                (text(), d.into(), of, "d.user_id")
            }
            9 => {
                let with = "WITH w AS (SELECT * FROM orders WHERE qty > «int8:2») -- many\n";
                (
                    with.into(),
                    "w o JOIN users u ON u.id = o.user_id".into(),
                    [o, u].concat(),
                    "o.id",
                )
            }
            _ => {
                let from = "users u, orders o WHERE u.id = o.user_id";
                (text(), from.into(), [u, o].concat(), "o.id")
            }
        }
    }

    fn condition(&mut self, of: &Columns) -> String {
        let (number, text) =
            (self.column(of, &[Kind::Int]), self.column(of, &[Kind::Text, Kind::Other]));
        let value = self.random.random_range(0..40);
        match self.random.random_range(0..8) {
            0 => format!("{number} > «int8:{value}»"),
            1 => format!("{number} BETWEEN 2 AND {value}"),
            2 => format!("{text} IS NOT NULL"),
            3 => format!("({number} % 3 = 1 OR {number} IS NULL)"),
            4 => format!("{text} IS DISTINCT FROM {text}"),
            5 => format!("coalesce({number}, 0)::bigint < «int8:{value}»"),
            6 => format!("{number} IN (1, 2, 3, 5, 8, 13, {value})"),
            _ => "now() > '2000-01-01'".to_owned(),
        }
    }

    fn filter(&mut self, from: &str, of: &Columns) -> String {
        let mut filter = String::new();
        for at in 0..self.one_of(&[0, 0, 1, 2]) {
            let before = if at == 0 && !from.contains(" WHERE ") { "WHERE" } else { "AND" };
            filter += &format!(" {before} {}", self.condition(of));
        }
        filter
    }

    fn limit(&mut self) -> String {
        let (limit, offset) = (self.random.random_range(0..25), self.random.random_range(0..15));
        match self.random.random_range(0..14) {
            0..=4 => String::new(),
            5 | 6 => format!(" LIMIT «int8:{limit}»"),
            7 => format!(" LIMIT «int8:{limit}» OFFSET «int8:{offset}»"),
            8 => format!(" OFFSET {offset} LIMIT {limit}"),
            9 => format!(" OFFSET «int8:{offset}»"),
            10 => format!(" OFFSET {offset} ROWS FETCH FIRST {limit} ROWS ONLY"),
            11 => format!(" LIMIT 9223372036854775807 OFFSET «int8:{offset}»"),
            12 if self.chance(2) => {
                let (limit, offset) =
                    self.one_of(&[("NULL", "3"), ("3", "NULL"), ("NULL", "NULL"), ("-1", "0")]);
                format!(" LIMIT «int8:{limit}» OFFSET «int8:{offset}»")
            }
            12 => format!(" LIMIT ALL OFFSET {offset}"),
            _ => format!(" LIMIT {limit} OFFSET {offset}"),
        }
    }

    fn direction(&mut self) -> &'static str {
        self.one_of(&["", "", "", " DESC", " ASC", " NULLS FIRST", " DESC NULLS LAST", " desc"])
    }

    pub fn query(&mut self) -> Query {
        match self.random.random_range(0..21) {
            0..=6 => self.rows(),
            7..=9 => self.distinct(),
            10..=12 => self.aggregates(),
            13..=18 => self.groups(),
            19 => self.subqueries(),
            _ => self.foreign(),
        }
    }

    /// `SELECT … ORDER BY … LIMIT`.
    fn rows(&mut self) -> Query {
        let (with, from, of, unique) = self.source();
        let filter = self.filter(&from, &of);
        let wild = self.chance(5);
        let (items, names) = if wild {
            (self.one_of(&["*", "*, 1 AS one"]).to_owned(), Vec::new())
        } else {
            self.items(&of)
        };
        let text = format!("{with}SELECT {items} FROM {from}{filter}");
        let limit = self.limit();
        if self.chance(4) {
            return Query { text, limit, ordered: None, total: false };
        }
        let mut keys = Vec::new();
        for _ in 0..self.one_of(&[1, 1, 2, 3]) {
            let key = match self.random.random_range(0..9) {
                0 if !names.is_empty() => self.one_of(&names),
                1 if !names.is_empty() => self.random.random_range(1..=names.len()).to_string(),
                2 if self.chance(4) => {
                    format!("{} % «int8:7»", self.column(&of, &[Kind::Int]))
                }
                2 => format!("{} + 1", self.column(&of, &[Kind::Int, Kind::Numeric])),
                3 => format!("{} COLLATE \"C\"", self.column(&of, &[Kind::Text])),
                4 => format!("lower({})", self.column(&of, &[Kind::Text])),
                5 => format!("({})", self.one_of(&of).0),
                // Some names are the result's as well.
                6 if self.chance(3) => self.one_of(&of).0.split_once('.').unwrap().1.to_owned(),
                _ => self.one_of(&of).0,
            };
            keys.push(format!("{key}{}", self.direction()));
        }
        let total = !self.chance(6);
        if total {
            keys.push(unique.to_owned());
        }
        let text = format!("{text} ORDER BY {}", keys.join(", "));
        Query { text, limit, ordered: Some(Vec::new()), total }
    }

    /// Items of a select list, and the names of those that have one.
    fn items(&mut self, of: &Columns) -> (String, Vec<String>) {
        let (mut items, mut names) = (Vec::new(), Vec::new());
        for at in 0..self.one_of(&[1, 2, 2, 3, 4]) {
            let column = self.one_of(of).0;
            let alias = self.one_of(&["", " AS", "as"]);
            match (self.random.random_range(0..7), alias) {
                (0, _) => {
                    let number = self.column(of, &[Kind::Int, Kind::Scaled]);
                    items.push(format!("{number} * 2 AS \"Twice {at}\""));
                    names.push(format!("\"Twice {at}\""));
                }
                (1, _) => {
                    items.push(format!("upper({}) u{at}", self.column(of, &[Kind::Text])));
                    names.push(format!("U{at}"));
                }
                (2, _) => {
                    // An alias that hides a column.
                    let other = self.one_of(of).0.split_once('.').unwrap().1.to_owned();
                    items.push(format!("{column} AS {other}"));
                    names.push(other);
                }
                (_, "") => {
                    names.push(column.split_once('.').unwrap().1.to_owned());
                    items.push(column);
                }
                (_, _) => {
                    items.push(format!("{column} AS c{at}"));
                    names.push(format!("c{at}"));
                }
            }
        }
        (items.join(", "), names)
    }

    /// Aggregates in a subquery, which may be of the query around it.
    fn subqueries(&mut self) -> Query {
        let (with, from, of, _) = self.source();
        let filter = self.filter(&from, &of);
        let (int, text) = (self.column(&of, &[Kind::Int]), self.column(&of, &[Kind::Text]));
        let row = of[0].0.split_once('.').unwrap().0;
        let mut items = Vec::new();
        for _ in 0..self.one_of(&[1, 1, 2]) {
            items.push(match self.random.random_range(0..12) {
                0 => "(SELECT max(k.zone) FROM countries k)".to_owned(),
                1 => format!("(SELECT count(k.title) FROM countries k WHERE k.code = {text}::text)"),
                2 => format!("(SELECT sum(k.zone + {int}) FROM countries k)"),
                3 => format!("(SELECT sum({int}) FROM countries k)"),
                4 => format!("(SELECT count({row}.*))"),
                5 => format!("(SELECT count(({row}.*)::text))"),
                6 => format!("(SELECT count(row_to_json({row}.*)) FROM countries)"),
                7 => format!("(SELECT count(upper({row}::text)) FROM countries)"),
                8 => format!(
                    "(SELECT sum((SELECT max(k.zone) FROM countries k WHERE k.code = {text}::text)) \
                     FROM countries k)"
                ),
                9 => format!("(SELECT {})", self.rank(&int)),
                10 => {
                    let rank = self.rank("k.zone");
                    format!("(SELECT {rank} FROM countries k WHERE k.code <> {text}::text)")
                }
                _ => format!("(SELECT count(*) FILTER (WHERE {int} > 3))"),
            });
        }
        let text = format!("{with}SELECT {} FROM {from}{filter}", items.join(", "));
        Query { text, limit: String::new(), ordered: None, total: false }
    }

    /// An aggregate that says where a value would be.
    fn rank(&mut self, of: &str) -> String {
        let function = self.one_of(&["rank", "dense_rank", "percent_rank", "cume_dist"]);
        format!("{function}({}) WITHIN GROUP (ORDER BY {of})", self.random.random_range(0..9))
    }

    fn distinct(&mut self) -> Query {
        let (with, from, of, _) = self.source();
        let filter = self.filter(&from, &of);
        let (items, names) = self.items(&of);
        let text = format!("{with}SELECT DISTINCT {items} FROM {from}{filter}");
        let limit = self.limit();
        if self.chance(3) {
            return Query { text, limit, ordered: None, total: false };
        }
        let all = !self.chance(3);
        let count = if all { names.len() } else { 1 };
        let keys: Vec<String> = (0..count)
            .map(|at| {
                let key = if self.chance(2) { (at + 1).to_string() } else { names[at].clone() };
                format!("{key}{}", self.direction())
            })
            .collect();
        let text = format!("{text} ORDER BY {}", keys.join(", "));
        Query { text, limit, ordered: Some((0..count).collect()), total: all }
    }

    fn aggregate(&mut self, of: &Columns) -> String {
        let int = self.column(of, &[Kind::Int]);
        let number = self.column(of, &[Kind::Int, Kind::Int, Kind::Scaled, Kind::Numeric]);
        let any = self.one_of(of).0;
        let call = match self.random.random_range(0..18) {
            0..=3 => "count(*)".to_owned(),
            4 => format!("count({any})"),
            5 | 6 => format!("sum({number})"),
            7 => format!("avg({number})"),
            8 => format!("AVG ( {int} )"),
            9 => format!("min({any})"),
            10 => format!("max({number})"),
            11 => format!("max({any})"),
            12 => format!("{}({int} > 3)", self.one_of(&["bool_and", "bool_or", "every"])),
            13 => format!("{}({int})", self.one_of(&["bit_and", "bit_or"])),
            14 => return format!("coalesce(sum({number}), 0)"),
            15 => return self.one_of(&["count(*)::int", "CAST(count(*) AS bigint)"]).to_owned(),
            16 if self.chance(3) => return self.rank(&int),
            16 if self.chance(2) => {
                return self.one_of(&["count(*) + 1", "round(avg(1), 2)"]).to_owned();
            }
            16 => format!("count(DISTINCT {int})"),
            _ => format!("sum(CASE WHEN {int} > 2 THEN 1 ELSE 0 END)"),
        };
        if self.chance(6) { format!("{call} FILTER (WHERE {})", self.condition(of)) } else { call }
    }

    fn having(&mut self, of: &Columns, key: Option<&str>) -> String {
        let call = self.aggregate(of);
        let number = self.column(of, &[Kind::Int, Kind::Scaled, Kind::Numeric]);
        let value = self.random.random_range(0..20);
        let condition = match self.random.random_range(0..8) {
            0 | 1 => format!("count(*) > «int8:{value}»"),
            2 => format!("sum({number}) >= {value}.5"),
            3 => format!("avg({number}) < {value} AND count(*) <> 3"),
            4 => format!("NOT (min({number}) = {value}) OR max({number}) IS NULL"),
            5 => format!("«int8:-3» < sum({number})"),
            6 => key.map_or("count(*) > 0".to_owned(), |key| {
                format!("{key} IS NOT NULL AND count({number}) > 1")
            }),
            _ => format!("{call} > {value}"),
        };
        format!(" HAVING {condition}")
    }

    fn aggregates(&mut self) -> Query {
        let (with, from, of, _) = self.source();
        let filter = self.filter(&from, &of);
        let items: Vec<String> =
            (0..self.one_of(&[1, 1, 2, 4])).map(|_| self.aggregate(&of)).collect();
        let having = if self.chance(5) { self.having(&of, None) } else { String::new() };
        let text = format!("{with}SELECT {} FROM {from}{filter}{having}", items.join(", "));
        let limit = if self.chance(8) { self.limit() } else { String::new() };
        Query { text, limit, ordered: Some(Vec::new()), total: true }
    }

    fn groups(&mut self) -> Query {
        let (with, from, of, _) = self.source();
        let filter = self.filter(&from, &of);
        let (mut items, mut by, mut exprs) = (Vec::new(), Vec::new(), Vec::new());
        for at in 0..self.one_of(&[1, 1, 1, 2]) {
            let column = self.one_of(&of).0;
            let expr = match self.random.random_range(0..6) {
                0 => format!("upper({})", self.column(&of, &[Kind::Text])),
                1 => format!("{} % 3", self.column(&of, &[Kind::Int])),
                2 => format!("date_trunc('year', {})", self.column(&of, &[Kind::Moment])),
                _ => column,
            };
            match self.random.random_range(0..5) {
                0 => {
                    items.push(expr.clone());
                    by.push((at + 1).to_string());
                }
                1 => {
                    let name = self.one_of(&["g", "kind", "\"Group\""]);
                    items.push(format!(
                        "{expr} AS {name}{}",
                        if name == "g" { at.to_string() } else { String::new() }
                    ));
                    by.push(if name == "g" { format!("G{at}") } else { name.to_owned() });
                }
                // It may be the name of a column.
                2 if self.chance(3) => {
                    let name = self.one_of(&of).0.split_once('.').unwrap().1.to_owned();
                    items.push(format!("{expr} AS {name}"));
                    by.push(name);
                }
                3 => by.push(expr.clone()),
                _ => {
                    items.push(expr.clone());
                    by.push(expr.clone());
                }
            }
            exprs.push(expr);
        }
        let groups = items.len();
        let whole = groups == by.len();
        for _ in 0..self.one_of(&[1, 1, 2, 3]) {
            items.push(self.aggregate(&of));
        }
        let having = if self.chance(4) { self.having(&of, Some(&exprs[0])) } else { String::new() };
        let text = format!(
            "{with}SELECT {} FROM {from}{filter} GROUP BY {}{having}",
            items.join(", "),
            by.join(", ")
        );
        let limit = self.limit();
        if self.chance(4) {
            return Query { text, limit, ordered: None, total: false };
        }
        let mut keys: Vec<String> = Vec::new();
        if self.chance(2) {
            let key = match self.random.random_range(0..3) {
                0 => items.len().to_string(),
                1 => self.aggregate(&of),
                _ => "count(*)".to_owned(),
            };
            keys.push(format!("{key}{}", self.direction()));
        }
        for (at, expr) in exprs.iter().enumerate() {
            let key = if whole && self.chance(2) { (at + 1).to_string() } else { expr.clone() };
            keys.push(format!("{key}{}", self.direction()));
            if self.chance(8) {
                keys.push(format!("({expr})::text COLLATE \"C\""));
            }
        }
        let text = format!("{text} ORDER BY {}", keys.join(", "));
        Query { text, limit, ordered: Some(Vec::new()), total: true }
    }

    /// What can't be answered, or not by every means.
    fn foreign(&mut self) -> Query {
        let text = self.one_of(&[
            "SELECT o.qty, rank() OVER (ORDER BY o.id) FROM orders o",
            "SELECT user_id, id, rank() OVER (PARTITION BY user_id ORDER BY id) AS r FROM orders ORDER BY user_id, id",
            "SELECT DISTINCT ON (status) status, id FROM orders ORDER BY status, id",
            "SELECT DISTINCT ON (user_id) user_id, status, id FROM orders ORDER BY user_id, id",
            "SELECT DISTINCT ON (user_id) status AS user_id, id FROM orders ORDER BY user_id, id",
            "SELECT count(*) FROM (SELECT DISTINCT ON (id) c.code AS id FROM users u JOIN countries c ON c.code = u.country) t",
            "SELECT id FROM users UNION SELECT user_id FROM orders",
            "SELECT string_agg(status, ',') FROM orders",
            "SELECT user_id, array_agg(id ORDER BY id) FROM orders GROUP BY user_id ORDER BY user_id",
            "SELECT user_id, count(DISTINCT qty) AS n FROM orders GROUP BY user_id HAVING count(DISTINCT qty) > 1 ORDER BY n DESC, user_id",
            "SELECT random() FROM users",
            "SELECT status, count(*) FROM orders GROUP BY ROLLUP (status)",
            "SELECT sum(score) FROM users",
            "SELECT ctid, id FROM users",
            "SELECT id FROM users ORDER BY id FOR UPDATE",
            "SELECT id, (SELECT count(*) FROM orders o WHERE o.user_id = u.id) AS n FROM users u ORDER BY n DESC, id",
            "SELECT id FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id AND o.qty > 5) ORDER BY id",
            "SELECT id FROM users WHERE id IN (SELECT user_id FROM orders WHERE qty > 3) ORDER BY id DESC",
            "SELECT lower(name) AS id, count(*) FROM users GROUP BY id ORDER BY 2, 1",
            "SELECT user_id AS id, count(*) FROM orders GROUP BY id",
            "SELECT upper((u).name) AS country, count(*) FROM users u GROUP BY upper(u.name), country",
            "SELECT upper(name) AS country, count(*) FROM users u GROUP BY upper((u).name), country",
            "SELECT rank(5) WITHIN GROUP (ORDER BY age) FROM users",
            "SELECT country, count(*), rank(5) WITHIN GROUP (ORDER BY balance) FROM users GROUP BY country",
            "SELECT country, count(*) FROM users GROUP BY country HAVING rank(2) WITHIN GROUP (ORDER BY balance) > 2",
            "SELECT 1 FROM users ORDER BY cume_dist(5) WITHIN GROUP (ORDER BY id)",
            "SELECT DISTINCT status FROM orders GROUP BY status, qty",
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY qty) FROM orders",
            "SELECT status, unnest(ARRAY[1, 2]) AS n, count(*) FROM orders GROUP BY status",
            "SELECT id, unnest(ARRAY[1, 2]) AS n FROM orders ORDER BY id, n",
            "SELECT current_user, id FROM users",
            "SELECT DISTINCT country FROM users ORDER BY lower(country)",
            "SELECT DISTINCT country, age FROM users WHERE id IN (1, 2, 3, 4, 5, 6) ORDER BY 2, 1",
            "SELECT count(*) FROM orders WHERE user_id = ANY ('{1,2,3,4,5,6,7}')",
            "SELECT id FROM users WHERE id IN (1, 2, 3, 4, 5) ORDER BY -id LIMIT 3",
            "SELECT user_id % 2 = 0 AS even, count(*) FROM orders GROUP BY even ORDER BY even",
            "SELECT o FROM orders o ORDER BY o.id",
            "SELECT o.status FROM orders o ORDER BY (SELECT title FROM countries WHERE zone = o.qty), o.id",
        ]);
        let ordered = text.contains(" ORDER BY ") || text.starts_with("SELECT count");
        Query {
            text: text.to_owned(),
            limit: String::new(),
            ordered: ordered.then(Vec::new),
            total: ordered && !text.contains("OVER (ORDER BY"),
        }
    }
}

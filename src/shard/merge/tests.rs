use super::*;
use crate::sql::facts::Name;
use crate::sql::fan::{Combine, Comparison, Condition, Count, Groups, Operand, Ordered};
use crate::wire::parameters::Parameters;

const MANNER: Manner = Manner {
    texts: Texts::ByBytes,
    converts: false,
    iso_dates: true,
    exact_floats: true,
    held_bytes_max: 400,
};

fn fan() -> Fan {
    Fan {
        text: String::new(),
        table: Name::plain("t"),
        extras: 0,
        order: Box::default(),
        groups: None,
        limit: Count::None,
        offset: Count::None,
    }
}

fn by(column: Column) -> Order {
    Order { column, descending: false, nulls_first: false, values: Ordered::ByType }
}

pub(super) fn described(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, type_oid) in columns {
        body.extend(name.bytes().chain([0]));
        body.extend([0, 0, 0, 9, 0, 1]);
        body.extend(type_oid.to_be_bytes());
        body.extend([0, 4, 255, 255, 255, 255, 0, 0]);
    }
    body
}

pub(super) fn row(values: &[Option<&str>]) -> Vec<u8> {
    let mut held = Held::default();
    held.begin(values.len());
    for value in values {
        held.push(|out| value.map(|value| out.extend_from_slice(value.as_bytes())));
    }
    let shown = held.shown(values.len());
    [&shown.columns.to_be_bytes(), shown.values].concat()
}

pub(super) fn words(row: &Row<'_>) -> String {
    let mut held = Held::default();
    let body = [&row.columns.to_be_bytes(), row.values].concat();
    held.fill(&body, row.columns.into()).unwrap();
    let word = |at| held.value(at).map_or("-".to_owned(), |v| String::from_utf8_lossy(v).into());
    (0..usize::from(row.columns)).map(word).collect::<Vec<String>>().join(" ")
}

/// What comes of shards whose rows are those of lines, `-` for NULL.
fn merged(merge: &mut Merge, shards: &[&[&str]]) -> Result<Vec<String>, Fault> {
    let mut next = vec![0; shards.len()];
    let mut rows = Vec::new();
    loop {
        let shard = match merge.step()? {
            Step::Row(row) => {
                rows.push(words(&row));
                continue;
            }
            Step::Done => return Ok(rows),
            Step::Need(shard) => shard,
            Step::NeedAny => (0..shards.len()).rfind(|at| next[*at] <= shards[*at].len()).unwrap(),
        };
        match shards[shard].get(next[shard]) {
            Some(line) => {
                let values: Vec<_> =
                    line.split(' ').map(|word| Some(word).filter(|word| *word != "-")).collect();
                merge.feed(shard, &row(&values))?;
            }
            None => merge.end(shard)?,
        }
        next[shard] += 1;
    }
}

fn start(fan: &Fan, columns: &[(&str, u32)], shards: usize) -> Result<Merge, Fault> {
    Merge::new(fan, &described(columns), shards, &Bound::none(), &MANNER)
}

const INT: u32 = 23;
const BIGINT: u32 = 20;
const TEXT: u32 = 25;

#[test]
fn rows_come_in_order_and_without_columns_of_ours() {
    let fan = Fan {
        extras: 1,
        order: [by(Column::Named("b".into())), by(Column::Extra(0))].into(),
        limit: Count::Number(4),
        offset: Count::Number(1),
        ..fan()
    };
    let columns = [("a", TEXT), ("b", INT), ("b", BIGINT)];
    let mut merge = start(&fan, &columns, 3).unwrap();
    let shards: [&[&str]; 3] = [&["p 1 5", "q 3 0"], &["r 1 6", "s 2 9", "t - 1"], &[]];
    let rows = merged(&mut merge, &shards).unwrap();
    assert_eq!(rows, ["r 1", "s 2", "q 3", "t -"]);
    assert_eq!(merge.rows(), 4);
    assert_eq!(description(&fan, &described(&columns)), Ok(described(&columns[..2])));
}

#[test]
fn rows_without_order_come_as_they_are_there() {
    let mut merge = start(&fan(), &[("a", INT)], 2).unwrap();
    assert_eq!(merge.step(), Ok(Step::NeedAny));
    merge.feed(1, &row(&[Some("7")])).unwrap();
    merge.feed(0, &row(&[Some("8")])).unwrap();
    assert_eq!(merged(&mut merge, &[&[], &[]]).unwrap(), ["7", "8"]);
    let limited = Fan { limit: Count::Number(2), ..fan() };
    let mut merge = start(&limited, &[("a", INT)], 2).unwrap();
    let rows = merged(&mut merge, &[&["1", "2"], &["3", "4", "5"]]).unwrap();
    assert_eq!(rows, ["3", "4"]);
    let none = Fan { limit: Count::Number(0), ..fan() };
    assert_eq!(start(&none, &[("a", INT)], 2).unwrap().step(), Ok(Step::Done));
}

fn grouped(columns: &[Combine], having: Option<Condition>, sorted: &[Order]) -> Fan {
    let groups = Groups { columns: columns.into(), having, sorted: sorted.into() };
    Fan { order: [by(Column::At(0))].into(), groups: Some(groups), ..fan() }
}

#[test]
fn groups_become_one_row_each() {
    let columns = [("g", TEXT), ("n", BIGINT), ("least", INT), ("all", 16), ("bits", INT)];
    let fan = grouped(
        &[Combine::First, Combine::Sum, Combine::Min, Combine::And, Combine::BitXor],
        None,
        &[],
    );
    let mut merge = start(&fan, &columns, 2).unwrap();
    let shards: [&[&str]; 2] =
        [&["a 1 5 t 6", "b 2 - f 1"], &["a 4 3 f 3", "c 1 - - -", "- 1 9 t 9"]];
    let rows = merged(&mut merge, &shards).unwrap();
    assert_eq!(rows, ["a 5 3 f 5", "b 2 - f 1", "c 1 - - -", "- 1 9 t 9"]);
}

#[test]
fn groups_are_left_out_and_put_in_another_order() {
    let compare = |comparison, value: &str| {
        Condition::Compare(Operand::Column(1), comparison, Operand::Number(value.into()))
    };
    let having = Condition::Or(
        [compare(Comparison::Greater, "2.5"), compare(Comparison::Equal, "1")].into(),
    );
    let descending = Order { descending: true, nulls_first: true, ..by(Column::At(1)) };
    let all = grouped(&[Combine::First, Combine::Sum], Some(having), &[descending]);
    let columns = [("g", TEXT), ("n", BIGINT)];
    let shards: [&[&str]; 2] = [&["a 1", "b 1", "d 7"], &["b 1", "c 4", "d 2", "e -"]];
    let rows = merged(&mut start(&all, &columns, 2).unwrap(), &shards).unwrap();
    assert_eq!(rows, ["d 9", "c 4", "a 1"]);
    let first = Fan { limit: Count::Number(1), offset: Count::Number(1), ..all };
    let rows = merged(&mut start(&first, &columns, 2).unwrap(), &shards).unwrap();
    assert_eq!(rows, ["c 4"]);
}

#[test]
fn more_groups_than_can_be_kept_are_an_error() {
    let fan = grouped(&[Combine::First, Combine::Sum], None, &[by(Column::At(1))]);
    let lines: Vec<String> = (10..99).map(|at| format!("{at} 1")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let columns = [("g", TEXT), ("n", BIGINT)];
    let found = merged(&mut start(&fan, &columns, 1).unwrap(), &[&lines]);
    assert_eq!(found, Err(Fault::TooLarge(400)));
    let mut merge = start(&fan, &columns, 1).unwrap();
    assert_eq!(merge.feed(0, &[0; 401]), Err(Fault::TooLarge(400)));
}

#[test]
fn sums_out_of_range_are_errors() {
    let fan = grouped(&[Combine::First, Combine::Sum], None, &[]);
    for (type_oid, value, name) in
        [(INT, "2147483647", "integer"), (BIGINT, "9223372036854775807", "bigint")]
    {
        let line = format!("a {value}");
        let mut merge = start(&fan, &[("g", TEXT), ("n", type_oid)], 2).unwrap();
        let found = merged(&mut merge, &[&[&line], &["a 1"]]);
        assert_eq!(found, Err(Fault::OutOfRange(name)));
    }
}

#[test]
fn what_can_not_be_put_together_is_known_from_the_columns() {
    let of_order = |order: Order| Fan { order: [order].into(), ..fan() };
    let told = |of| Order { values: Ordered::TextOf(of), ..by(Column::Extra(0)) };
    let sum = grouped(&[Combine::First, Combine::Sum], None, &[]);
    for (fan, columns, fault) in [
        (of_order(by(Column::Named("x".into()))), &[("a", INT)][..], Fault::NoColumn("x".into())),
        (of_order(by(Column::At(1))), &[("a", INT)], Fault::Differs),
        (of_order(by(Column::At(0))), &[("a", 3802)], Fault::NoOrder(3802)),
        (
            Fan { extras: 1, ..of_order(by(Column::At(1))) },
            &[("a", INT), ("ours", INT)],
            Fault::NoColumn("2".into()),
        ),
        (
            Fan { extras: 1, ..of_order(told(0)) },
            &[("a", 701), ("ours", TEXT)],
            Fault::NotTold(701),
        ),
        (
            Fan { extras: 1, ..of_order(told(0)) },
            &[("a", 1700), ("ours", TEXT)],
            Fault::NotTold(1700),
        ),
        (sum.clone(), &[("a", INT), ("b", 701)], Fault::Inexact(701)),
        (sum, &[("a", INT), ("b", 790)], Fault::Inexact(790)),
    ] {
        assert_eq!(start(&fan, columns, 2).err(), Some(fault), "{columns:?}");
    }
}

#[test]
fn shards_describe_their_rows_alike() {
    let merge = start(&fan(), &[("a", INT)], 2).unwrap();
    let mut other = described(&[("a", INT)]);
    other[6] = 77; // of another table
    assert_eq!(merge.described(&other), Ok(()));
    for columns in [&[("a", BIGINT)][..], &[("b", INT)], &[("a", INT), ("b", INT)], &[]] {
        assert_eq!(merge.described(&described(columns)), Err(Fault::Differs));
    }
}

#[test]
fn what_is_no_row_or_not_asked_for_is_an_error() {
    let fan = Fan { order: [by(Column::At(0))].into(), ..fan() };
    let whole = row(&[Some("17"), None]);
    for len in 0..whole.len() {
        let mut merge = start(&fan, &[("a", INT), ("b", INT)], 1).unwrap();
        assert_eq!(merge.feed(0, &whole[..len]), Err(Fault::Broken), "{len}");
    }
    let mut merge = start(&fan, &[("a", INT), ("b", INT)], 1).unwrap();
    assert_eq!(merge.feed(1, &whole), Err(Fault::Broken));
    assert_eq!(merge.feed(0, &whole), Ok(()));
    assert_eq!(merge.feed(0, &whole), Err(Fault::Broken));
    assert_eq!(merge.end(0), Err(Fault::Broken));
}

#[test]
fn window_is_known_before_rows_are() {
    let fan = Fan { limit: Count::Parameter(2), offset: Count::Parameter(1), ..fan() };
    let window = |values: [Option<&[u8]>; 2], format: u8, types: &[u32]| {
        let mut body = vec![0, 1, 0, format, 0, 2];
        for value in values {
            let len = value.map_or(u32::MAX, |value| u32::try_from(value.len()).unwrap());
            body.extend(len.to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        Window::of(&fan, &Bound::new(Parameters::read(&body).unwrap(), types))
    };
    let of = |offset, limit| Ok(Window { limit, offset });
    assert_eq!(window([Some(b"3"), Some(b" 5 ")], 0, &[]), of(3, Some(5)));
    assert_eq!(window([None, None], 0, &[20, 20]), of(0, None));
    let (three, five) = (3_i32.to_be_bytes(), 5_i64.to_be_bytes());
    assert_eq!(window([Some(&three), Some(&five)], 1, &[23, 20]), of(3, Some(5)));
    assert_eq!(window([Some(b"-1"), Some(b"-1")], 0, &[]), Err(Fault::NegativeOffset));
    assert_eq!(window([Some(b"1"), Some(b"-1")], 0, &[]), Err(Fault::NegativeLimit));
    // Of which type it is is not known.
    assert_eq!(window([Some(&three), Some(&five)], 1, &[]), Err(Fault::Parameter(1)));
    assert_eq!(window([Some(b"1.5"), None], 0, &[]), Err(Fault::Parameter(1)));
    assert_eq!(window([Some(b"1"), Some(b"1")], 0, &[20, 25]), Err(Fault::Parameter(2)));
}

/// A million rows through four shards, of which no more than four are held.
#[test]
fn rows_stream() {
    let fan = Fan { order: [by(Column::At(0))].into(), ..fan() };
    let mut merge = start(&fan, &[("a", INT)], 4).unwrap();
    let (mut next, mut rows) = ([0, 1, 2, 3], 0_u32);
    let mut body = row(&[Some("1000000")]);
    loop {
        match merge.step().unwrap() {
            Step::Row(row) => {
                assert_eq!(row.values[4..], (1_000_000 + rows).to_string().into_bytes());
                rows += 1;
            }
            Step::Need(shard) if next[shard] < 1_000_000 => {
                let text = (1_000_000 + next[shard]).to_string();
                body[6..].copy_from_slice(text.as_bytes());
                merge.feed(shard, &body).unwrap();
                next[shard] += 4;
            }
            Step::Need(shard) => merge.end(shard).unwrap(),
            Step::NeedAny => panic!("they are ordered"),
            Step::Done => break,
        }
    }
    assert_eq!(rows, 1_000_000);
    let held: usize = merge.sources.iter().map(|source| source.key.capacity()).sum();
    assert!(held < 1000, "{held}");
}

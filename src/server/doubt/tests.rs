use super::*;

fn question(leaves: Leaves) -> Question {
    let doubt = Doubt { leaves, settings: Vec::new() };
    Question::of(doubt, &Params::default(), &ParamsTable::default(), 0).unwrap().0
}

fn row(fields: &[&[u8]]) -> Vec<u8> {
    let mut row = u16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for field in fields {
        row.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        row.extend_from_slice(field);
    }
    row
}

fn statement(number: usize, text: &[u8]) -> Vec<u8> {
    row(&[b"p", format!("a{number:05}").as_bytes(), text])
}

fn listed(number: usize) -> Vec<u8> {
    statement(number, format!("prepare a{number:05} as select 1").as_bytes())
}

fn found(question: Question, table: &ParamsTable) -> Found {
    question.found(&Params::default(), &Params::default(), b"app", table)
}

#[test]
fn answer_without_end_is_not_kept() {
    let mut question = question(Leaves::PREPARED);
    let text = vec![b' '; 50_000];
    for number in 0..1000 {
        question.row(&statement(number, &text));
        let held = question.statements.iter().flatten();
        let bytes: usize = held.filter_map(|listed| listed.sql.as_ref()).map(|sql| sql.len()).sum();
        assert!(bytes <= ANSWER_MAX, "{bytes}");
    }
    assert!(question.is_too_long() && question.statements.is_none());
}

#[test]
fn settings_without_end_are_not_kept() {
    let mut question = question(Leaves::ANY_SETTINGS);
    for _ in 0..100 {
        question.row(&row(&[b"n", b"612e62", &[b'0'; 500_000]]));
        let bytes: usize = question.named.iter().map(|(_, value)| value.len()).sum();
        assert!(bytes <= ANSWER_MAX, "{bytes}");
    }
    assert!(question.is_too_long());
}

#[test]
fn statements_are_learnt_up_to_a_number() {
    let mut question = question(Leaves::PREPARED);
    (0..STATEMENTS_MAX).for_each(|number| question.row(&listed(number)));
    assert_eq!(question.statements.as_ref().map(Vec::len), Some(STATEMENTS_MAX));
    assert_eq!(question.fixed, Some(false));
    question.row(&listed(STATEMENTS_MAX));
    assert!(question.statements.is_none() && !question.is_too_long());
    assert_eq!(found(question, &ParamsTable::default()).fixed, Some(true));
}

#[test]
fn settings_that_are_too_much_do_not_travel() {
    let table = ParamsTable::default();
    let of = |count: usize| {
        let mut question = question(Leaves::ANY_SETTINGS);
        for number in 0..count {
            let name: String =
                format!("a.b{number:04}").bytes().map(|b| format!("{b:02x}")).collect();
            question.row(&row(&[b"n", name.as_bytes(), &[b'4'; 200]]));
        }
        assert!(!question.is_too_long());
        let found = found(question, &table);
        (found.settings.map(|settings| settings.iter().count()), found.too_much)
    };
    assert_eq!(of(700), (Some(700), false));
    assert_eq!(of(800), (None, true));
}

//! Alerts as values: readings in, what is raised and resolved out.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::*;
use crate::config::Alerts;

/// A clock that goes on as it is told.
struct Clock {
    began: Moment,
    passed: Duration,
}

impl Clock {
    fn new() -> Self {
        let began = Moment { at: Instant::now(), time: SystemTime::UNIX_EPOCH };
        Self { began, passed: Duration::ZERO }
    }

    fn now(&self) -> Moment {
        Moment { at: self.began.at + self.passed, time: self.began.time + self.passed }
    }
}

fn lag(about: &str, value: Option<f64>) -> Reading {
    let detail = String::new();
    Reading { condition: &REPLICA_LAG, about: about.to_owned(), value, detail }
}

/// Lag of one replica, a second after the other, with a warning at 10 s for 5 s and a critical
/// alert at 60 s; the changes, each with its second.
#[track_caller]
fn check(values: &[Option<f64>], expected: &[&str]) {
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let mut found = Vec::new();
    for value in values {
        for change in book.look(clock.now(), &[lag("db2", *value)], &Alerts::default()) {
            let what = if change.resolved.is_some() { "resolved" } else { "raised" };
            found.push(format!(
                "{} {what} at {}",
                change.key.severity.name(),
                clock.passed.as_secs()
            ));
        }
        clock.passed += Duration::from_secs(1);
    }
    assert_eq!(found, expected, "{values:?}");
}

fn run(parts: &[(f64, usize)]) -> Vec<Option<f64>> {
    parts.iter().flat_map(|(value, times)| vec![Some(*value); *times]).collect()
}

#[test]
fn alert_is_raised_once_after_its_duration_and_resolved_once() {
    check(&run(&[(12.0, 20), (0.0, 30)]), &["warning raised at 5", "warning resolved at 30"]);
    check(&run(&[(12.0, 5), (0.0, 30)]), &[]);
    check(
        &run(&[(61.0, 20), (12.0, 20), (0.0, 20)]),
        &[
            "warning raised at 5",
            "critical raised at 5",
            "critical resolved at 30",
            "warning resolved at 50",
        ],
    );
}

#[test]
fn flapping_within_the_hysteresis_raises_nothing_and_resolves_nothing() {
    let flapping: Vec<_> = (0..100).map(|n| Some(if n % 3 == 0 { 9.0 } else { 11.0 })).collect();
    check(&flapping, &[]);
    let mut raised = run(&[(11.0, 6)]);
    raised.extend(&flapping);
    raised.extend(run(&[(7.9, 9), (8.1, 50)]));
    check(&raised, &["warning raised at 5"]);
    raised.extend(run(&[(7.9, 11)]));
    check(&raised, &["warning raised at 5", "warning resolved at 175"]);
}

#[test]
fn what_is_not_known_raises_nothing_and_resolves_nothing() {
    check(&[None; 100], &[]);
    let mut values = run(&[(12.0, 6)]);
    values.extend([None; 100]);
    check(&values, &["warning raised at 5"]);
    values.extend(run(&[(0.0, 11)]));
    check(&values, &["warning raised at 5", "warning resolved at 116"]);
}

#[test]
fn lag_that_is_known_only_now_and_then_is_raised() {
    let gaps: Vec<_> = (0..20).map(|n| (n % 3 == 0).then_some(12.0)).collect();
    check(&gaps, &["warning raised at 6"]);
    let mut back = vec![Some(12.0), None, Some(0.0), None];
    back.extend([Some(12.0), None, None, Some(12.0)]);
    check(&back, &[]);
}

#[test]
fn what_is_gone_or_turned_off_is_resolved_at_once_and_shown_for_an_hour() {
    let mut settings = Alerts { replica_lag_for: Duration::ZERO, ..Alerts::default() };
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let readings = [lag("db2", Some(12.0)), lag("db3", Some(12.0))];
    assert_eq!(book.look(clock.now(), &readings, &settings).len(), 2);
    clock.passed += Duration::from_secs(1);
    let changes = book.look(clock.now(), &readings[..1], &settings);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].key.about.as_str(), changes[0].resolved.is_some()), ("db3", true));
    settings.replica_lag_warning = None;
    clock.passed += Duration::from_secs(1);
    assert_eq!(book.look(clock.now(), &readings, &settings)[0].key.about, "db2");
    let shown = |book: &Book| book.shown().iter().map(|shown| shown.state).collect::<Vec<_>>();
    assert_eq!(shown(&book), [State::Resolved; 2]);
    clock.passed += Duration::from_secs(3600);
    book.look(clock.now(), &readings, &settings);
    assert_eq!(shown(&book), []);
}

#[test]
fn alerts_are_bounded_and_a_place_is_free_again() {
    let settings = Alerts { max_alerts: 2, replica_lag_critical: None, ..Alerts::default() };
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let three = ["a", "b", "c"].map(|about| lag(about, Some(12.0)));
    book.look(clock.now(), &three, &settings);
    assert_eq!(book.shown().len(), 2);
    clock.passed += Duration::from_secs(1);
    book.look(clock.now(), &three[1..], &settings);
    clock.passed += Duration::from_secs(1);
    book.look(clock.now(), &three[1..], &settings);
    let shown: Vec<_> = book.shown().into_iter().map(|shown| shown.key.about).collect();
    assert_eq!(shown, ["b", "c"]);
}

#[test]
fn what_is_wrong_now_takes_the_places_of_what_was_and_of_what_is_less() {
    let settings = Alerts { max_alerts: 2, ..Alerts::default() };
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let down = |about: &str, value: f64| {
        let detail = String::new();
        Reading { condition: &NO_PRIMARY, about: about.to_owned(), value: Some(value), detail }
    };
    let mut look = |readings: &[Reading], seconds: u64| {
        for _ in 0..seconds {
            clock.passed += Duration::from_secs(1);
            book.look(clock.now(), readings, &settings);
        }
        let shown = book.shown().into_iter();
        shown.map(|shown| format!("{} {}", shown.key.about, shown.state.name())).collect::<Vec<_>>()
    };
    // Warnings that are pending give way to what is critical.
    let lags = ["a", "b", "c"].map(|about| lag(about, Some(12.0)));
    assert_eq!(look(&lags, 1), ["a pending", "b pending"]);
    let mut all = lags.to_vec();
    all.push(down("shop", 1.0));
    assert_eq!(look(&all, 6), ["shop raised", "b raised"]);
    // What is raised does not.
    all.push(down("work", 1.0));
    assert_eq!(look(&all, 6), ["shop raised", "b raised"]);
    // What was resolved does.
    assert_eq!(look(&[down("shop", 1.0)], 1), ["shop raised", "b resolved"]);
    assert_eq!(look(&[down("shop", 1.0), lag("c", Some(12.0))], 1), ["shop raised", "c pending"]);
}

#[test]
fn a_certificate_is_worse_the_less_it_has_left() {
    let day = 86_400.0;
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let mut look = |left: f64| {
        let about = "clients".to_owned();
        let detail = String::new();
        let reading = Reading { condition: &CERTIFICATE, about, value: Some(left), detail };
        clock.passed += Duration::from_secs(20);
        let changes = book.look(clock.now(), &[reading], &Alerts::default());
        changes.iter().map(|change| change.summary()).collect::<Vec<_>>()
    };
    assert_eq!(look(15.0 * day), [""; 0]);
    assert_eq!(look(13.0 * day), ["certificate of clients: 13 d (threshold 14 d)"]);
    assert_eq!(look(-day).len(), 1);
    assert_eq!(look(90.0 * day), [""; 0]);
    assert_eq!(look(90.0 * day).len(), 2);
}

/// The notices of a book after this many seconds of this lag.
fn after(
    book: &mut Book,
    clock: &mut Clock,
    value: f64,
    seconds: u64,
) -> (Vec<Notice>, Vec<Notice>) {
    let mut changes = Vec::new();
    for _ in 0..seconds {
        clock.passed += Duration::from_secs(1);
        changes.extend(book.look(clock.now(), &[lag("db2", Some(value))], &Alerts::default()));
    }
    (book.raised(), changes)
}

#[test]
fn receiver_that_was_away_is_told_how_everything_stands_and_each_thing_once() {
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let mut mailbox = Mailbox::default();
    let mut put = |mailbox: &mut Mailbox, book: &mut Book, value: f64, seconds: u64| {
        let (raised, changes) = after(book, &mut clock, value, seconds);
        mailbox.put(&raised, &changes, 1000);
    };
    put(&mut mailbox, &mut book, 12.0, 10);
    let due = mailbox.due();
    assert_eq!((due.len(), due[0].resolved), (1, None));
    // Not taken; then resolved, and raised again.
    put(&mut mailbox, &mut book, 0.0, 20);
    assert!(mailbox.due()[0].resolved.is_some());
    put(&mut mailbox, &mut book, 12.0, 10);
    let due = mailbox.due();
    assert_eq!((due.len(), due[0].resolved.is_some(), due[1].resolved), (2, true, None));
    mailbox.delivered(&due);
    assert_eq!(mailbox.due(), []);
    assert_eq!(mailbox.known(), due[1..]);
    put(&mut mailbox, &mut book, 12.0, 10);
    assert_eq!(mailbox.due(), []);
    put(&mut mailbox, &mut book, 0.0, 20);
    let due = mailbox.due();
    assert!(due[0].resolved.is_some());
    mailbox.delivered(&due);
    assert_eq!((mailbox.due(), mailbox.known()), (vec![], vec![]));
}

#[test]
fn end_that_a_receiver_has_not_heard_of_is_told_before_what_was_raised_since() {
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let mut mailbox = Mailbox::default();
    let mut put = |mailbox: &mut Mailbox, value: f64, seconds: u64| {
        let (raised, changes) = after(&mut book, &mut clock, value, seconds);
        mailbox.put(&raised, &changes, 1000);
    };
    let told = |mailbox: &Mailbox| {
        let due = mailbox.due().into_iter();
        let epoch = SystemTime::UNIX_EPOCH;
        let word = |notice: Notice| {
            let since = notice.since.duration_since(epoch).unwrap().as_secs();
            format!("{since} {}", if notice.resolved.is_some() { "resolved" } else { "raised" })
        };
        due.map(word).collect::<Vec<_>>()
    };
    put(&mut mailbox, 12.0, 10);
    let first = told(&mailbox)[0].split(' ').next().unwrap().to_owned();
    mailbox.delivered(&mailbox.due());
    // It ends and is raised again, twice, while nobody is there.
    put(&mut mailbox, 0.0, 20);
    put(&mut mailbox, 12.0, 10);
    put(&mut mailbox, 0.0, 20);
    put(&mut mailbox, 12.0, 10);
    let due = told(&mailbox);
    assert_eq!(due.len(), 2, "{due:?}");
    assert_eq!(due[0], format!("{first} resolved"));
    assert!(due[1].ends_with(" raised"), "{due:?}");
    mailbox.delivered(&mailbox.due());
    assert_eq!((told(&mailbox).len(), mailbox.known().len()), (0, 1));
    put(&mut mailbox, 0.0, 20);
    assert_eq!(told(&mailbox).len(), 1);
    mailbox.delivered(&mailbox.due());
    // Nobody has heard of it: its end is told, and that it is raised again.
    put(&mut mailbox, 12.0, 10);
    put(&mut mailbox, 0.0, 20);
    put(&mut mailbox, 12.0, 10);
    let states: Vec<_> = mailbox.due().iter().map(|notice| notice.resolved.is_some()).collect();
    assert_eq!(states, [true, false]);
}

#[test]
fn what_is_silenced_is_told_when_the_silence_ends() {
    let (mut book, mut clock) = (Book::default(), Clock::new());
    let mut mailbox = Mailbox::default();
    let mut put = |mailbox: &mut Mailbox, book: &mut Book, value: f64, seconds: u64| {
        let (raised, changes) = after(book, &mut clock, value, seconds);
        mailbox.put(&raised, &changes, 1000);
        clock.now()
    };
    let now = put(&mut mailbox, &mut book, 0.0, 1);
    assert!(!book.silence("lag", now, None));
    assert!(!book.unsilence("replica_lag"));
    assert!(book.silence("replica_lag", now, Some(now.at + Duration::from_secs(30))));
    put(&mut mailbox, &mut book, 12.0, 20);
    assert_eq!(mailbox.due(), []);
    assert!(book.raised()[0].silenced);
    put(&mut mailbox, &mut book, 12.0, 20);
    let due = mailbox.due();
    assert_eq!(due.len(), 1);
    mailbox.delivered(&due);
    // What was told as raised is told as resolved, silence or not.
    assert!(book.silence("replica_lag", now, None));
    put(&mut mailbox, &mut book, 0.0, 20);
    assert!(mailbox.due()[0].resolved.is_some());
    // What nobody was told of is not told as resolved.
    mailbox.delivered(&mailbox.due());
    put(&mut mailbox, &mut book, 12.0, 20);
    put(&mut mailbox, &mut book, 0.0, 20);
    assert_eq!(mailbox.due(), []);
    assert!(book.unsilence("replica_lag"));
}

#[test]
fn changes_of_the_primary_are_counted_within_the_window() {
    let mut flapping = Flapping::default();
    let (clock, window) = (Clock::new(), Duration::from_secs(60));
    let mut look = |seconds: u64, primary: Option<&str>| {
        let primaries = [("shop".to_owned(), primary.map(str::to_owned))].into();
        let at = clock.began.at + Duration::from_secs(seconds);
        flapping.look(&primaries, window, at).first().map(|(_, count)| *count)
    };
    assert_eq!(look(0, None), None);
    assert_eq!(look(1, Some("a")), Some(0));
    // Away and back is no change.
    assert_eq!(look(2, None), Some(0));
    assert_eq!(look(3, Some("a")), Some(0));
    assert_eq!(look(10, Some("b")), Some(1));
    assert_eq!(look(20, Some("a")), Some(2));
    assert_eq!(look(71, Some("a")), Some(1));
    assert_eq!(look(90, Some("a")), Some(0));
}

#[test]
fn what_has_come_in_the_last_minute_is_known_from_the_start_on() {
    let (mut window, clock) = (Window::default(), Clock::new());
    let mut look = |second: u64| {
        let at = clock.began.at + Duration::from_secs(second);
        // What there was before the first look has come in the last minute, too.
        window.look(at, second + 1000).copied().map(|value| value.saturating_sub(1000))
    };
    for second in 0..1000 {
        let before = look(second).unwrap();
        let is_right =
            if second < 60 { before == 0 } else { (60..65).contains(&(second - before)) };
        assert!(is_right, "{second}: {before}");
    }
}

#[test]
fn quantiles_are_as_prometheus_has_them() {
    let bounds = [(0.25, 10), (0.75, 20), (1.0, 20)];
    assert_eq!(quantile(0.95, &[], 0), None);
    assert_eq!(quantile(0.5, &bounds, 20), Some(0.25));
    assert_eq!(quantile(0.75, &bounds, 20), Some(0.5));
    assert_eq!(quantile(1.0, &bounds, 20), Some(0.75));
    // What took longer than the last bound has that.
    assert_eq!(quantile(0.95, &bounds, 100), Some(1.0));
}

/// With `UPDATE_REFERENCE` set, writes the file instead.
#[track_caller]
fn check_current(name: &str, wanted: impl FnOnce(&str) -> String) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted = wanted(&found);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(
        found == wanted,
        "{name} is behind src/alerts/condition.rs: UPDATE_REFERENCE=1 cargo test"
    );
}

#[test]
fn documentation_has_every_condition_as_it_is() {
    check_current("docs/alerts.md", |found| {
        let (before, rest) = found.split_once("| alert | of each |").expect("a table of alerts");
        let after = rest.split_once("\n\n").expect("something behind it").1;
        format!("{before}{}\n{after}", markdown())
    });
}

#[test]
fn rules_for_prometheus_have_the_same_thresholds() {
    check_current("docker/prometheus/rules.yml", |_| rules());
}

#[test]
fn keys_of_conditions_are_keys_of_the_configuration() {
    let reference = crate::config::reference::toml();
    for key in CONDITIONS.iter().flat_map(|condition| condition.keys) {
        assert!(reference.contains(&format!("\n#{key} = ")), "{key}");
    }
}

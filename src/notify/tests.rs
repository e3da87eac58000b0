//! The book of a station.

use std::time::Duration;

use super::ear::{Inner, Name};
use super::station::{Station, Step};
use super::*;

/// Of a server that nobody connects to.
#[derive(Debug)]
struct Nowhere;

impl Lead for Nowhere {
    fn target(&self) -> Target {
        panic!("nobody connects there");
    }

    fn is_paused(&self) -> bool {
        false
    }
}

pub(super) fn station() -> Arc<Station> {
    let address = Address::Unix("/nowhere".into());
    Station::new(Arc::new(Key { address, database: "d".into(), encoding: b"UTF8"[..].into() }))
}

/// So many ears, from 0, and what they want to hear.
pub(super) fn ears(
    station: &Station,
    count: u64,
    wants: impl Fn(u64) -> Vec<Name>,
) -> Vec<Arc<Mutex<Inner>>> {
    let join = |id| {
        let inner = station.join(id, Arc::new(Nowhere), Inner::new(1 << 20));
        station.want(id, wants(id));
        inner
    };
    (0..count).map(join).collect()
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| name.as_bytes().into()).collect()
}

/// What the server is asked now.
fn asked(station: &Station) -> Option<String> {
    match station.step(true) {
        Step::Ask(sql) => {
            let sql = String::from_utf8(sql).unwrap();
            let mut commands: Vec<_> = sql.split_inclusive(';').collect();
            commands.sort_unstable();
            station.answered(1);
            Some(commands.join(" "))
        }
        Step::Wait => None,
        Step::Close => Some("close".to_owned()),
        Step::Leave(why) => Some(why.to_owned()),
    }
}

#[test]
fn server_is_told_what_has_changed() {
    let station = station();
    let _ears = ears(&station, 2, |id| match id {
        0 => names(&["a", "b"]),
        _ => names(&["b", "c"]),
    });
    assert_eq!(asked(&station).unwrap(), r#"LISTEN "a"; LISTEN "b"; LISTEN "c";"#);
    assert_eq!(asked(&station), None);
    station.catch_up();
    assert_eq!(asked(&station).unwrap(), "");
    station.give_up(0, &names(&["a", "b", "c"]));
    assert_eq!(asked(&station).unwrap(), r#"UNLISTEN "a";"#);
    // What comes and goes before it is told is not.
    station.want(0, names(&["x", "a"]));
    station.give_up(0, &names(&["x"]));
    assert_eq!(asked(&station).unwrap(), r#"LISTEN "a";"#);
    station.lost("gone");
    assert_eq!(asked(&station).unwrap(), r#"LISTEN "a"; LISTEN "b"; LISTEN "c";"#);
    assert!(!station.leave(1));
    assert_eq!(asked(&station).unwrap(), r#"UNLISTEN "b"; UNLISTEN "c";"#);
    assert!(station.leave(0));
    assert_eq!(asked(&station).unwrap(), "close");
}

/// Who comes from a station that it had lost is told that it hears, whatever it listens to.
#[test]
fn who_comes_from_elsewhere_hears_again() {
    let station = station();
    let _ears = ears(&station, 1, |_| names(&["a"]));
    asked(&station).unwrap();
    let mut inner = Inner::new(1 << 20);
    inner.lost(&"moved".into());
    let moved = station.join(7, Arc::new(Nowhere), inner);
    station.want(7, names(&["a"]));
    assert!(moved.lock().is_told_lost());
    assert_eq!(asked(&station).unwrap(), "");
    assert!(!moved.lock().is_told_lost());
}

/// What one client does takes no longer for what others listen to.
#[test]
fn channels_of_others_cost_nothing() {
    let begun = std::time::Instant::now();
    let station = station();
    let name = |at: u64| -> Name { format!("c{at}").into_bytes().into() };
    let _others = ears(&station, 20, |id| (id * 1_000..(id + 1) * 1_000).map(name).collect());
    asked(&station).unwrap();
    for _ in 0..20_000 {
        let id = 1_000;
        let _ear = station.join(id, Arc::new(Nowhere), Inner::new(1 << 20));
        station.want(id, vec![name(7)]);
        station.catch_up();
        assert_eq!(asked(&station).unwrap(), "");
        assert!(!station.leave(id));
    }
    assert_eq!(asked(&station), None);
    // Some 10^9 steps would take a minute.
    assert!(begun.elapsed() < Duration::from_secs(10));
}

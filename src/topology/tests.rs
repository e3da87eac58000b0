//! Decisions and freshness as values, on a clock of the test's own.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::config::HostPort;

/// A cluster whose looks all come on time, one second apart.
struct Scene {
    cluster: Cluster,
    start: Instant,
    now: Instant,
    told: Vec<String>,
}

impl Scene {
    fn new(hosts: &[&str]) -> Self {
        let start = Instant::now();
        let cluster = Cluster::new(hosts.iter().map(|name| at(name)), None, start);
        Self { cluster, start, now: start, told: Vec::new() }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn look(&mut self, host: usize, look: Result<Sample, Miss>) {
        let events = self.cluster.observe(host, self.now, self.now, look);
        self.told.extend(events.into_iter().map(|event| match event {
            Event::Up(host) => format!("{} up", host.host),
            Event::Down(host, cause) => format!("{} down: {cause}", host.host),
            Event::Refuses(host, cause) => format!("{} refuses: {cause}", host.host),
            Event::Primary(host, timeline) => format!("{} primary of {timeline}", host.host),
            Event::NoPrimary => "no primary".to_owned(),
            Event::Slighted(host) => format!("{} slighted", host.host),
        }));
    }

    /// A look at each host in words: `primary 1 0/10`, `replica 1 0/10`, `gone`, `silent`,
    /// `refused`, or `-` for none. With a system and a snapshot: `primary 1 0/10 7 5:6:5`.
    fn looks(&mut self, looks: &[&str]) {
        for (host, look) in looks.iter().enumerate() {
            let words: Vec<&str> = look.split(' ').collect();
            let miss = |sign| Err(Miss { sign, cause: (*look).to_owned() });
            self.look(
                host,
                match *words {
                    ["-"] => continue,
                    ["gone"] => miss(Sign::Gone),
                    ["silent"] => miss(Sign::Silence),
                    ["refused"] => miss(Sign::Refusal),
                    [role, timeline, lsn, ref system @ ..] => Ok(Sample {
                        role: if role == "primary" { Role::Primary } else { Role::Replica },
                        system: system.first().map_or(7, |system| system.parse().unwrap()),
                        timeline: timeline.parse().unwrap(),
                        lsn: Lsn::parse(lsn),
                        snapshot: system.get(1).and_then(|text| Snapshot::parse(text)),
                        flushing: Flushing::default(),
                    }),
                    _ => panic!("{look}"),
                },
            );
        }
    }

    fn primary(&self) -> Option<&str> {
        self.cluster.primary().map(|at| at.host.as_str())
    }

    /// The seconds since the start up to which a host is fresh.
    fn fresh_as_of(&self, host: usize) -> Option<u64> {
        let figures = &self.cluster.figures()[host];
        figures.fresh_as_of.map(|moment| (moment - self.start).as_secs())
    }

    fn lag(&self, host: usize) -> Option<u64> {
        self.cluster.figures()[host].lag(self.now).map(|lag| lag.as_secs())
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn at(name: &str) -> HostPort {
    HostPort { host: name.to_owned(), port: 5432 }
}

#[test]
fn primary_is_found_in_any_order_of_hosts() {
    let looks = ["primary 1 0/10", "replica 1 0/10", "gone"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let names = order.map(|host| ["p", "r", "x"][host]);
        let mut scene = Scene::new(&names);
        scene.looks(&order.map(|host| looks[host]));
        assert_eq!(scene.primary(), Some("p"), "{names:?}");
        let standing = scene.cluster.figures().into_iter().map(|figures| figures.standing);
        let wanted = [Standing::Primary, Standing::Replica, Standing::Unknown];
        assert!(standing.eq(order.map(|host| wanted[host])), "{names:?}");
    }
}

#[test]
fn nobody_is_the_primary_before_all_hosts_were_looked_at() {
    let mut scene = Scene::new(&["old", "new"]);
    scene.looks(&["primary 1 0/90"]);
    assert_eq!(scene.primary(), None);
    scene.looks(&["-", "primary 2 0/50"]);
    assert_eq!(scene.primary(), Some("new"));
    assert_eq!(scene.told(), ["old up", "new up", "new primary of 2", "old slighted"]);

    for other in ["gone", "silent", "refused"] {
        let mut scene = Scene::new(&["p", "x"]);
        scene.looks(&["primary 1 0/90", other]);
        assert_eq!(scene.primary(), Some("p"), "{other}");
    }
}

#[test]
fn higher_timeline_wins_and_an_earlier_one_never_again() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.looks(&["primary 1 0/10", "replica 1 0/10"]);
    scene.looks(&["-", "primary 2 0/8"]);
    assert_eq!(scene.primary(), Some("b"));
    scene.told();
    scene.looks(&["primary 1 0/20", "primary 2 0/8"]);
    assert_eq!(scene.primary(), Some("b"));
    assert!(scene.told().is_empty(), "told once");

    scene.looks(&["primary 1 0/20", "gone"]);
    assert_eq!(scene.primary(), None, "who is of the past gets nothing when the new one is gone");
    scene.looks(&["gone", "gone"]);
    scene.looks(&["primary 1 0/20", "-"]);
    scene.looks(&["primary 1 0/20", "-"]);
    assert_eq!(scene.primary(), None, "nor when it comes back");
    assert_eq!(scene.told(), ["b down: gone", "no primary", "a down: gone", "a up", "a slighted"]);
    scene.looks(&["replica 2 0/20", "primary 2 0/9"]);
    scene.looks(&["replica 2 0/20", "primary 2 0/9"]);
    assert_eq!(scene.primary(), Some("b"));
}

#[test]
fn replica_that_follows_a_later_timeline_tells_that_the_primary_is_of_the_past() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    scene.looks(&["primary 1 0/10", "replica 1 0/10", "replica 1 0/10"]);
    scene.looks(&["primary 1 0/10", "silent", "replica 2 0/10"]);
    assert_eq!(scene.primary(), None);
    scene.looks(&["-", "primary 2 0/10"]);
    assert_eq!(scene.primary(), Some("b"));
}

#[test]
fn primaries_of_one_timeline_are_not_told_apart() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.looks(&["primary 2 0/10", "primary 2 0/20"]);
    assert_eq!(scene.primary(), None);
    assert_eq!(scene.told(), ["a up", "b up", "a slighted", "b slighted"]);

    let mut scene = Scene::new(&["a", "b"]);
    scene.looks(&["primary 2 0/10", "replica 2 0/10"]);
    scene.looks(&["primary 2 0/10", "primary 2 0/99"]);
    assert_eq!(scene.primary(), Some("a"), "the one that is it stays it");
}

#[test]
fn hosts_of_another_cluster_get_nothing() {
    let mut scene = Scene::new(&["a", "x"]);
    scene.looks(&["primary 1 0/10", "replica 9 0/10 8"]);
    assert_eq!((scene.primary(), scene.fresh_as_of(1)), (Some("a"), None));
    scene.looks(&["primary 1 0/10", "primary 9 0/10 8"]);
    assert_eq!(scene.primary(), Some("a"));
    // One that takes the place of all others, as after pg_upgrade.
    scene.looks(&["gone", "gone"]);
    scene.looks(&["primary 1 0/0 5", "-"]);
    scene.looks(&["primary 1 0/0 5", "-"]);
    assert_eq!(scene.primary(), Some("a"));
}

#[test]
fn demoted_primary_is_none_and_one_that_restarts_is_it_again() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.looks(&["primary 1 0/10", "replica 1 0/10"]);
    scene.looks(&["replica 1 0/10", "replica 1 0/10"]);
    assert_eq!(scene.primary(), None);
    scene.looks(&["gone", "primary 2 0/10"]);
    assert_eq!(scene.primary(), Some("b"));
    scene.looks(&["-", "gone"]);
    assert_eq!(scene.primary(), None);
    scene.looks(&["-", "primary 2 0/10"]);
    assert_eq!(scene.primary(), None, "one answer is not enough");
    scene.looks(&["-", "primary 2 0/10"]);
    assert_eq!(scene.primary(), Some("b"));
}

#[test]
fn hosts_are_down_after_three_silences_and_up_after_two_answers() {
    let (up, down) = (State::Up, State::Down);
    let (answer, silence, refusal) = (Sign::Answer, Sign::Silence, Sign::Refusal);
    let cases: &[(&[Sign], State)] = &[
        (&[], State::Unknown),
        (&[refusal, refusal, refusal], State::Unknown),
        (&[silence], down),
        (&[answer], up),
        (&[answer, silence, silence], up),
        (&[answer, silence, silence, answer, silence, silence], up),
        (&[answer, silence, refusal, silence, refusal], up),
        (&[answer, silence, silence, silence], down),
        (&[answer, Sign::Gone], down),
        (&[answer, Sign::Gone, answer], down),
        (&[answer, Sign::Gone, answer, silence, answer], down),
        (&[answer, Sign::Gone, answer, answer], up),
        (&[answer, refusal, refusal, refusal, refusal], up),
    ];
    let now = Instant::now();
    for (signs, wanted) in cases {
        let mut health = Health::new(now);
        for sign in *signs {
            health.saw(*sign, now);
        }
        assert_eq!(health.state(), *wanted, "{signs:?}");
    }
}

#[test]
fn refusal_is_told_once_and_again_for_another_reason() {
    let mut scene = Scene::new(&["a"]);
    for look in ["refused", "refused", "primary 1 0/1", "refused"] {
        scene.looks(&[look]);
    }
    let wanted = ["a refuses: refused", "a up", "a primary of 1", "a refuses: refused"];
    assert_eq!(scene.told(), wanted);
    assert_eq!(scene.primary(), Some("a"), "it stays what it was");
}

#[test]
fn idle_primary_keeps_its_replica_fresh() {
    let mut scene = Scene::new(&["p", "r"]);
    for _ in 0..100 {
        scene.looks(&["primary 1 0/10", "replica 1 0/10"]);
        assert_eq!(scene.lag(1), Some(0));
        scene.pass(1);
    }
    assert_eq!(scene.cluster.figures()[1].lag_bytes, Some(0));
}

#[test]
fn lag_is_the_age_of_what_the_replica_has() {
    let mut scene = Scene::new(&["p", "r"]);
    for second in 0..60 {
        // The link is cut after ten seconds.
        let (written, replayed) = (second, second.min(10));
        scene.looks(&[&format!("primary 1 0/{written:X}"), &format!("replica 1 0/{replayed:X}")]);
        assert_eq!(scene.lag(1), Some(second - replayed));
        assert_eq!(scene.cluster.figures()[1].lag_bytes, Some(second - replayed));
        scene.pass(1);
    }
    // It has more than it had at the last moment and less than now.
    scene.looks(&["primary 1 0/100", "replica 1 0/80"]);
    assert_eq!(scene.fresh_as_of(1), Some(59));
    // Having everything again, it is as fresh as the primary was looked at.
    scene.looks(&["-", "replica 1 0/100"]);
    assert_eq!(scene.lag(1), Some(0));
    // A primary that can't be looked at makes nobody fresh.
    scene.pass(5);
    scene.looks(&["silent", "replica 1 0/200"]);
    assert_eq!(scene.lag(1), Some(5));
}

/// It has written more of a transaction than can be replayed, which nobody has committed.
#[test]
fn replica_lacks_nothing_while_nothing_is_over_that_is_not_over_there() {
    let mut scene = Scene::new(&["p", "r"]);
    for _ in 0..9 {
        scene.looks(&["primary 1 0/2000 7 8:8:", "replica 1 0/1F00 7 8:8:"]);
        assert_eq!((scene.lag(1), scene.cluster.figures()[1].lag_bytes), (Some(0), Some(256)));
        scene.pass(1);
    }
    // One is over at the primary, and not at the replica.
    for second in 0..9 {
        scene.looks(&["primary 1 0/2100 7 9:9:", "replica 1 0/1F00 7 8:8:"]);
        assert_eq!(scene.lag(1), Some(second + 1));
        scene.pass(1);
    }
    // More is over there than the primary had said.
    scene.looks(&["-", "replica 1 0/2100 7 10:12:10"]);
    assert_eq!(scene.lag(1), Some(1));
}

#[test]
fn replica_lacks_nothing_while_nothing_has_ended_since_it_had_everything() {
    let mut scene = Scene::new(&["p", "r"]);
    // An old transaction is under way, and one behind it is over.
    for _ in 0..3 {
        scene.looks(&["primary 1 0/100 7 8:10:8", "replica 1 0/100 7 8:10:"]);
        scene.pass(1);
    }
    for _ in 0..9 {
        scene.looks(&["primary 1 0/2000 7 8:10:8", "replica 1 0/1F00 7 8:10:"]);
        assert_eq!(scene.lag(1), Some(0));
        scene.pass(1);
    }
    // Another that has not got as far lacks what is over.
    scene.looks(&["primary 1 0/2000 7 8:10:8", "replica 1 0/90 7 8:10:"]);
    assert_eq!(scene.lag(1), None);
    scene.pass(1);
    // The old one ends, and again nothing else does: the replica has not got so far.
    for second in 0..9 {
        scene.looks(&["primary 1 0/2100 7 10:10:", "replica 1 0/1F00 7 8:10:"]);
        assert_eq!(scene.lag(1), Some(second + 1));
        scene.pass(1);
    }
}

#[test]
fn what_is_flushed_late_is_not_taken_for_something_that_nobody_has_committed() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let lsn = |lsn: &str| Lsn::parse(lsn).unwrap();
    let mut moments = Moments::default();
    // Committed before the first look, it may be flushed up to 600 ms later.
    for (millis, written) in
        [(0, "0/10"), (100, "0/10"), (500, "0/20"), (900, "0/30"), (1000, "0/40")]
    {
        moments.sampled(Position {
            requested: at(millis),
            answered: at(millis + 10),
            lsn: lsn(written),
            snapshot: Snapshot::parse("5:5:"),
            flushed_within: Duration::from_millis(600),
        });
    }
    let fresh = |replayed| moments.fresh_as_of(lsn(replayed), None);
    assert_eq!(fresh("0/10"), Some(at(100)));
    assert_eq!(fresh("0/20"), Some(at(500)));
    assert_eq!(fresh("0/30"), Some(at(1000)), "flushed by then");
    assert_eq!(moments.latest(), Some(lsn("0/40")));
}

#[test]
fn lag_of_a_replica_that_does_not_answer_is_unknown() {
    let mut scene = Scene::new(&["p", "r"]);
    scene.looks(&["primary 1 0/10", "replica 1 0/10"]);
    for look in ["silent", "refused", "gone"] {
        scene.looks(&["primary 1 0/10", look]);
        assert_eq!((scene.lag(1), scene.cluster.figures()[1].lag_bytes), (None, None), "{look}");
    }
    let mut behind = Scene::new(&["p", "r"]);
    behind.looks(&["primary 1 0/10", "replica 1 0/5"]);
    assert_eq!(behind.lag(1), None, "there is no moment of which it has everything");
    assert_eq!(behind.cluster.figures()[1].lag_bytes, Some(11));
}

#[test]
fn moments_of_an_old_timeline_are_void() {
    let mut scene = Scene::new(&["a", "b", "c"]);
    scene.looks(&["primary 1 0/90", "replica 1 0/50", "replica 1 0/90"]);
    assert_eq!((scene.fresh_as_of(1), scene.fresh_as_of(2)), (None, Some(0)));
    scene.pass(1);
    scene.looks(&["gone", "primary 2 0/60", "replica 1 0/90"]);
    assert_eq!(scene.fresh_as_of(2), None, "further, but of another history");
    scene.pass(1);
    scene.looks(&["-", "primary 2 0/60", "replica 2 0/60"]);
    assert_eq!(scene.fresh_as_of(2), Some(2));
}

#[test]
fn moments_are_bounded_and_the_oldest_stays() {
    let (start, mut moments) = (Instant::now(), Moments::default());
    let lsn = |number: u64| Lsn::parse(&format!("0/{number:X}")).unwrap();
    let second = |number| start + Duration::from_secs(number);
    let position = |requested: Instant, lsn: Lsn| Position {
        requested,
        answered: requested,
        lsn,
        snapshot: None,
        flushed_within: Duration::from_millis(600),
    };
    for number in 0..100_000 {
        moments.sampled(position(second(number), lsn(number)));
    }
    assert_eq!(moments.fresh_as_of(lsn(0), None), Some(second(0)));
    assert_eq!(moments.fresh_as_of(lsn(99_990), None), Some(second(99_990)));
    for number in [10, 1000, 50_000] {
        let fresh = moments.fresh_as_of(lsn(number), None).unwrap();
        assert!(fresh <= second(number), "never fresher than it is");
    }
    moments.sampled(position(second(100_001), lsn(500)));
    assert_eq!(moments.latest(), Some(lsn(500)));
    assert_eq!(moments.fresh_as_of(lsn(99_990), None), Some(second(100_001)));
}

#[test]
fn hosts_that_stay_are_known_after_a_change_of_the_list() {
    let mut scene = Scene::new(&["a", "b"]);
    scene.looks(&["primary 3 0/10", "replica 3 0/10"]);
    let names = ["c", "b", "a"].map(at);
    let mut next = Cluster::new(names, Some(&scene.cluster), scene.now);
    assert_eq!(next.primary(), Some(&at("a")));
    assert_eq!(next.figures()[1].fresh_as_of, Some(scene.now));
    let flushing = Flushing::default();
    let lsn = Lsn::parse("0/99");
    let primary =
        Sample { role: Role::Primary, system: 7, timeline: 2, lsn, snapshot: None, flushing };
    next.observe(0, scene.now, scene.now, Ok(primary.clone()));
    assert_eq!(next.primary(), Some(&at("a")));
    // Without the primary of before, one of the past is none either.
    let mut next = Cluster::new(["c"].map(at), Some(&scene.cluster), scene.now);
    assert_eq!(next.primary(), None);
    next.observe(0, scene.now, scene.now, Ok(Sample { system: 7, ..primary }));
    assert_eq!(next.primary(), None);
}

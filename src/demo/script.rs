//! The lines of the demonstration: each shows one thing, can be pasted into a shell, and knows
//! what it should print. They are shown and checked from the same list.

/// One line to paste.
#[derive(Debug)]
pub(super) struct Line {
    /// What it shows.
    pub(super) title: &'static str,
    /// For a POSIX shell, after the setup of [`setup`].
    pub(super) command: &'static str,
    pub(super) expect: Expect,
}

/// What a line should print.
#[derive(Debug)]
pub(super) enum Expect {
    /// This and nothing else.
    Exactly(&'static str),
    /// A number from 1 to this.
    UpTo(u32),
    /// This somewhere.
    Containing(&'static str),
}

impl Expect {
    pub(super) fn holds(&self, output: &str) -> bool {
        let output = output.trim();
        match *self {
            Self::Exactly(text) => output == text,
            Self::UpTo(most) => output.parse().is_ok_and(|number| (1..=most).contains(&number)),
            Self::Containing(text) => output.contains(text),
        }
    }
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Exactly(text) => write!(f, "{}", text.replace('\n', " / ")),
            Self::UpTo(most) => write!(f, "at most {most}"),
            Self::Containing(text) => write!(f, "... {text} ..."),
        }
    }
}

/// Servers that the demonstration's pool may open.
pub(super) const POOL_SIZE: u32 = 4;

/// The lines, in the order in which they make sense.
pub(super) const LINES: &[Line] = &[
    Line {
        title: "A query through pgweir",
        command: r#"psql "$SHOP" -Atc "select 'hello from ' || current_database()""#,
        expect: Expect::Exactly("hello from shop"),
    },
    Line {
        title: "20 clients at once, without pgweir: this many server processes",
        command: r#"for i in $(seq 20); do psql "$PRIMARY" -Atc "select pg_backend_pid() from pg_sleep(0.5)" & done | sort -u | wc -l"#,
        expect: Expect::Exactly("20"),
    },
    Line {
        title: "20 clients at once, through pgweir: they share the pool's 4",
        command: r#"for i in $(seq 20); do psql "$SHOP" -Atc "select pg_backend_pid() from pg_sleep(0.5)" & done | sort -u | wc -l"#,
        expect: Expect::UpTo(POOL_SIZE),
    },
    Line {
        title: "A transaction keeps its server from begin to commit",
        command: r#"psql "$SHOP" -Atq -c begin -c "select pg_backend_pid()" -c "select pg_backend_pid()" -c "select pg_backend_pid()" -c commit | sort -u | wc -l"#,
        expect: Expect::Exactly("1"),
    },
    Line {
        title: "Prepared statements work although every transaction may get another server",
        command: r#"echo "select :client_id + 1;" | pgbench -n -M prepared -c 20 -t 50 -f - "$SHOP" | grep "actually processed""#,
        expect: Expect::Containing("1000/1000"),
    },
    Line {
        title: "Servers open after all this, seen from Postgres",
        command: r#"psql "$PRIMARY" -Atc "select count(*) from pg_stat_activity where usename = 'app' and backend_type = 'client backend' and pid <> pg_backend_pid()""#,
        expect: Expect::UpTo(POOL_SIZE),
    },
    Line {
        title: "What one client sets, the next does not inherit",
        command: r#"psql "$SHOP" -qc "set work_mem = '77MB'"; for i in $(seq 8); do psql "$SHOP" -Atc "show work_mem"; done | sort -u"#,
        expect: Expect::Exactly("4MB"),
    },
    Line {
        title: "Ctrl-C in a client cancels its query (here after 2 seconds)",
        command: r#"timeout -s INT 2 psql "$SHOP" -Atc "select pg_sleep(60)" 2>&1"#,
        expect: Expect::Containing("canceling statement due to user request"),
    },
    Line {
        title: "... and Postgres no longer runs it",
        command: r#"psql "$PRIMARY" -Atc "select count(*) from pg_stat_activity where state = 'active' and query like '%sleep(60)%' and pid <> pg_backend_pid()""#,
        expect: Expect::Exactly("0"),
    },
    Line {
        title: "The two replicas, asked directly: are they replicas?",
        command: r#"for url in "$REPLICA1" "$REPLICA2"; do psql "$url" -Atc "select pg_is_in_recovery()"; done"#,
        expect: Expect::Exactly("t\nt"),
    },
    Line {
        title: "Make the second replica lag 5 seconds behind",
        command: r#"psql "$REPLICA2_ADMIN" -Atqc "alter system set recovery_min_apply_delay = '5s'" -c "select pg_reload_conf()""#,
        expect: Expect::Exactly("t"),
    },
    Line {
        title: "Write through pgweir, read from that replica: at once, and until it is there",
        command: r#"id=$(psql "$SHOP" -Atqc "insert into notes (body) values ('hello') returning id"); see() { psql "$REPLICA2" -Atc "select count(*) from notes where id = $id"; }; echo "at once: $(see)"; for i in $(seq 100); do [ "$(see)" = 1 ] && break; sleep 0.2; done; echo "later: $(see)""#,
        expect: Expect::Exactly("at once: 0\nlater: 1"),
    },
    Line {
        title: "Let it catch up again",
        command: r#"psql "$REPLICA2_ADMIN" -Atqc "alter system reset recovery_min_apply_delay" -c "select pg_reload_conf()""#,
        expect: Expect::Exactly("t"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectation_tells_right_from_wrong() {
        let check = |expect: Expect, right: &[&str], wrong: &[&str]| {
            for text in right {
                assert!(expect.holds(text), "{expect:?} of {text:?}");
            }
            for text in wrong {
                assert!(!expect.holds(text), "{expect:?} of {text:?}");
            }
        };
        check(Expect::Exactly("t\nt"), &["t\nt\n"], &["", "t", "t\nt\nt", "t\nf"]);
        check(Expect::UpTo(4), &["1", " 4\n"], &["", "0", "5", "-1", "4 5", "four"]);
        check(Expect::Containing("10/10"), &["10/10", "done: 10/10.\n"], &["", "1/10"]);
    }
}

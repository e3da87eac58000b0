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
    /// This, where `...` stands for anything.
    Like(&'static str),
}

impl Expect {
    pub(super) fn holds(&self, output: &str) -> bool {
        let output = output.trim();
        match *self {
            Self::Exactly(text) => output == text,
            Self::UpTo(most) => output.parse().is_ok_and(|number| (1..=most).contains(&number)),
            Self::Like(pattern) => is_like(output, pattern),
        }
    }
}

/// Whether `text` is `pattern`, in which `...` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("...") else { return text == pattern };
    let (middle, end) = rest.rsplit_once("...").unwrap_or(("", rest));
    let Some(text) = text.strip_prefix(start).and_then(|text| text.strip_suffix(end)) else {
        return false;
    };
    let mut parts = middle.split("...");
    parts.try_fold(text, |text, part| text.split_once(part).map(|(_, after)| after)).is_some()
}

impl std::fmt::Display for Expect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Exactly(text) | Self::Like(text) => write!(f, "{}", text.replace('\n', " / ")),
            Self::UpTo(most) => write!(f, "at most {most}"),
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
        expect: Expect::Like("... 1000/1000"),
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
        expect: Expect::Like("... canceling statement due to user request..."),
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
        title: "A read runs on a replica, and pgweir says which one and why",
        command: r#"psql "$SHOP" -Atc "select count(*) from notes" -c "show pgweir.last_route""#,
        expect: Expect::Like("...\nreplica 127.0.0.1:...: reads"),
    },
    Line {
        title: "A write runs on the primary",
        command: r#"psql "$SHOP" -Atqc "insert into notes (body) values ('hello') returning body" -c "show pgweir.last_route""#,
        expect: Expect::Like("hello\nprimary: writes"),
    },
    Line {
        title: "What pgweir has found out about the servers",
        command: r#"psql "$CONSOLE" -A -P footer=off -c "show replicas" | cut -d "|" -f 2-5,8,16"#,
        expect: Expect::Like(
            "host|port|role|state|lag_seconds|eligible\n...|primary|up|...|replica|up|...|replica|up|...",
        ),
    },
    Line {
        title: "Why does this not run on a replica? Functions may write unless they are declared otherwise",
        command: r#"psql "$CONSOLE" -Atc "explain route shop select note_count()""#,
        expect: Expect::Like(
            "target|primary\nreason|volatile_function\n...about|public.note_count...",
        ),
    },
    Line {
        title: "Make both replicas lag 4 seconds behind",
        command: r#"for url in "$REPLICA1_ADMIN" "$REPLICA2_ADMIN"; do psql "$url" -Atqc "alter system set recovery_min_apply_delay = '4s'" -c "select pg_reload_conf()"; done"#,
        expect: Expect::Exactly("t\nt"),
    },
    Line {
        title: "Write through pgweir, read past it from a replica: at once, and until it is there",
        command: r#"id=$(psql "$SHOP" -Atqc "insert into notes (body) values ('hello') returning id"); see() { psql "$REPLICA2" -Atc "select count(*) from notes where id = $id"; }; echo "at once: $(see)"; for i in $(seq 100); do [ "$(see)" = 1 ] && break; sleep 0.2; done; echo "later: $(see)""#,
        expect: Expect::Exactly("at once: 0\nlater: 1"),
    },
    Line {
        title: "Through pgweir a session reads what it wrote: from the primary until a replica has it",
        command: r#"last="select body from notes order by id desc limit 1"; psql "$SHOP" -Atqc "insert into notes (body) values ('mine')" -c "$last" -c "show pgweir.last_route" -c '\! sleep 6' -c "$last" -c "show pgweir.last_route""#,
        expect: Expect::Like("mine\nprimary: not_fresh\nmine\nreplica 127.0.0.1:...: reads"),
    },
    Line {
        title: "How far the replicas are behind 2 seconds after a write",
        command: r#"psql "$SHOP" -qc "insert into notes (body) values ('slow')"; sleep 2; psql "$CONSOLE" -Atc "show replicas" | awk -F "|" '$4 == "replica" && $8 > 1 { print $3 ": " $8 " s" }'"#,
        expect: Expect::Like("...: ... s\n...: ... s"),
    },
    Line {
        title: "A session that wants what is at most a second old does not read from them then",
        command: r#"psql "$SHOP" -qc "insert into notes (body) values ('slow')"; sleep 2; PGOPTIONS='-c pgweir.max_lag=1s' psql "$SHOP" -Atqc "select count(*) from notes" -c "show pgweir.last_route""#,
        expect: Expect::Like("...\nprimary: lagging"),
    },
    Line {
        title: "Let them catch up again",
        command: r#"for url in "$REPLICA1_ADMIN" "$REPLICA2_ADMIN"; do psql "$url" -Atqc "alter system reset recovery_min_apply_delay" -c "select pg_reload_conf()"; done"#,
        expect: Expect::Exactly("t\nt"),
    },
    Line {
        title: "Stop the primary and promote the first replica, under a client that stays connected",
        command: r#"psql "$SHOP" -Atqc "insert into notes (body) values ('before') returning body, inet_server_port()" -c '\! $PG_CTL -s -D "$DATA/primary" -m fast stop && $PG_CTL -s -D "$DATA/replica1" promote' -c "insert into notes (body) values ('after') returning body, inet_server_port()""#,
        expect: Expect::Like("before|...\nafter|..."),
    },
    Line {
        title: "Have the second replica follow the new primary",
        command: r#"psql "$REPLICA2_ADMIN" -Atqc "alter system set primary_conninfo = '$FOLLOW_REPLICA1'" -c "select pg_reload_conf()""#,
        expect: Expect::Exactly("t"),
    },
    Line {
        title: "... and it is read from again",
        command: r#"for i in $(seq 50); do route=$(psql "$SHOP" -Atqc "select count(*) from notes" -c "show pgweir.last_route"); case "$route" in *reads) break;; esac; sleep 0.2; done; echo "$route""#,
        expect: Expect::Like("...\nreplica 127.0.0.1:...: reads"),
    },
    Line {
        title: "Where requests ran since the start, and why",
        command: r#"psql "$CONSOLE" -A -P footer=off -c "show routes" | cut -d "|" -f 2-4"#,
        expect: Expect::Like("target|reason|requests\n..."),
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
        check(Expect::Like("... 10/10"), &["done: 10/10\n"], &["", "10/10", "done: 1/10"]);
        check(Expect::Like("a...b...c"), &["abc", "a1b2c", "a\nbb c"], &["", "ac", "acb", "1abc"]);
    }
}

//! What the log says, and what it never says.

use serde_json::Value;

use crate::setup::{file, shared};
use crate::support::{LIMIT, PASSWORD, Pooler, eventually, psql};
use crate::wire::{Client, USER};

/// Lines of the log, which stands among what is told when it starts.
fn objects(pooler: &Pooler) -> Vec<Value> {
    let log = pooler.log();
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn line_of_the_log_is_an_object_where_that_is_wanted() {
    let settings = "log_format = \"json\"; log_connections = true; auth_type = \"scram-sha-256\"";
    let pooler = Pooler::start(&file(shared().port(), settings, ""));
    let url = |user: &str, password: &str| pooler.url(user, password, "shop");
    assert!(psql(&url("app", PASSWORD), "SELECT 1").status.success());
    // What others have named is data, and stays within its line.
    assert!(!psql(&url("%22%7D%0A%7B", "wrong"), "SELECT 1").status.success());
    let told = |text: &str| {
        let found = objects(&pooler).into_iter();
        found.filter(|line| line["message"].as_str().unwrap().contains(text)).collect::<Vec<_>>()
    };
    eventually("both are told", LIMIT, || {
        !told("login attempt: db=shop user=app").is_empty() && !told("login failed: ").is_empty()
    });
    for line in objects(&pooler) {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
    let [failed] = &told("login failed: ")[..] else { panic!("{}", pooler.log()) };
    assert_eq!(failed["level"], "WARN");
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.contains("user \"\\\"}\\n{\"") && message.contains("from 127.0.0.1"),
        "{message}"
    );
    let stray = |line: &&str| !line.starts_with('{') && !line.starts_with("  ");
    let log = pooler.log();
    let stray: Vec<_> = log.lines().filter(stray).collect();
    assert_eq!(stray.len(), 1, "the line that it listens: {stray:?}");
}

#[test]
fn logins_that_fail_are_told_once_with_their_address_and_then_as_a_number() {
    let settings = "auth_type = \"scram-sha-256\"";
    let pooler = Pooler::start(&file(shared().port(), settings, ""));
    for _ in 0..8 {
        let failed = psql(&pooler.url("app", "wrong", "shop"), "SELECT 1");
        assert!(failed.stderr.contains("password authentication failed"), "{}", failed.stderr);
    }
    let told = "login failed: client to pgweir: password authentication failed: wrong password \
                (user \"app\", database \"shop\", method scram-sha-256, from 127.0.0.1)";
    // Eight of them, in however many tens of seconds.
    let number = || -> usize {
        let log = pooler.log();
        let of = |line: &str| match line.split_once(" times more in 10s: ") {
            Some((before, what)) if what == told => {
                before.rsplit(' ').next().unwrap().parse().unwrap()
            }
            None if line.ends_with(told) => 1,
            _ => 0,
        };
        log.lines().map(of).sum()
    };
    eventually("all of them are told", LIMIT, || number() == 8);
    let log = pooler.log();
    let lines = log.lines().filter(|line| line.ends_with(told)).count();
    assert!(lines < 8, "{log}");
}

/// By any protocol, and where the statement fails with its parameters in its error.
#[test]
fn parameters_of_slow_statements_are_not_told() {
    let settings = "default_pool_size = 1; log_min_duration = 0.1; log_pooler_errors = true";
    let pooler = Pooler::start(&file(shared().port(), settings, ""));
    let mut holder = Client::login(pooler.port());
    holder.talk("Q begin", "C[BEGIN] ZT");
    let mut waiter = Client::login_as(pooler.port(), &[USER[0], USER[1]]);
    waiter.say("P s select $1::text, pg_sleep(0.2) from generate_series(1,1) / B s hidden / E / S");
    holder.talk("Q select pg_sleep(0.3)", "T D[] C[SELECT 1] ZT");
    holder.talk("Q commit", "C[COMMIT] ZI");
    waiter.hears("1 2 D[hidden|] C[SELECT 1] ZI");
    let fails = "P f select (a || $1)::int from (select pg_sleep(0.2)::text as a) as s";
    waiter.say(&format!("{fails} / B f hidden / E / S"));
    let heard = waiter.hears_up_to("ZI");
    assert!(heard.contains("E[22P02]"), "{heard}");
    let slow = |form: &str| -> [f64; 2] {
        let mut line = None;
        eventually(form, LIMIT, || {
            let log = pooler.log();
            let mut lines = log.lines().filter(|line| line.contains("slow statement"));
            line = lines.find(|line| line.contains(&format!(": {form} ("))).map(str::to_owned);
            line.is_some()
        });
        let line = line.unwrap();
        let (_, times) = line.rsplit_once("(waited ").unwrap();
        let (waited, ran) = times.split_once(" ms, ran ").unwrap();
        let (ran, whose) = ran.split_once(" ms)").unwrap();
        assert!(whose.starts_with(" client=") && !whose.contains("statement"), "{line}");
        [waited, ran].map(|time| time.parse().unwrap())
    };
    let [waited, ran] = slow("select ?::text, pg_sleep(?) from generate_series(?)");
    assert!(waited >= 250.0 && ran >= 200.0, "{waited}, {ran}: {}", pooler.log());
    let [_, ran] = slow("select(a || ?)::int from(select pg_sleep(?)::text as a) as s");
    assert!(ran >= 200.0, "{ran}: {}", pooler.log());
    assert!(!pooler.log().contains("hidden"), "{}", pooler.log());
}

/// What a machine looks for need not be read from the words, which have it as well.
#[test]
fn object_has_what_its_words_say_in_fields_of_their_own() {
    let settings = "log_format = \"json\"; log_connections = true; log_disconnections = true; \
                    log_min_duration = 0.1; admin_users = \"app\"";
    let alerts = "[alerts]\nclient_limit_warning = 1\nclient_limit_for = 0\n";
    let pooler =
        Pooler::start(&file(shared().port(), &format!("{settings}; max_client_conn = 4"), alerts));
    let named = [USER[0], USER[1], ("application_name", "web")];
    let mut client = Client::login_as(pooler.port(), &named);
    client.talk("Q select 'hidden', pg_sleep(0.2)", "T D[hidden|] C[SELECT 1] ZI");
    let find = |text: &str| {
        let mut found = None;
        eventually(text, LIMIT, || {
            let mut lines = objects(&pooler).into_iter();
            found = lines.find(|line| line["message"].as_str().unwrap().contains(text));
            found.is_some()
        });
        found.unwrap()
    };
    let says = |text: &str, wanted: &[(&str, Value)]| {
        let line = find(text);
        for (key, value) in wanted {
            assert_eq!(&line[*key], value, "{key}: {line}");
        }
        line
    };
    let whose = [("user", "app".into()), ("database", "shop".into())];
    let slow = says("slow statement", &whose);
    assert_eq!(slow["statement"], "select ?, pg_sleep(?)");
    assert_eq!(slow["application_name"], "web");
    assert!(slow["ran_ms"].as_f64().unwrap() >= 200.0 && slow["waited_ms"].is_number(), "{slow}");
    assert!(slow["addr"].as_str().unwrap().starts_with("127.0.0.1:"), "{slow}");
    let login = says("login attempt", &whose);
    assert_eq!(login["client"], slow["client"]);
    says(
        "alert raised",
        &[("alert", "client_limit".into()), ("state", "raised".into()), ("about", "".into())],
    );
    client.say("X");
    let closing = says("closing because: client close request", &whose);
    assert_eq!(
        (&closing["reason"], &closing["client"]),
        (&"client close request".into(), &slow["client"])
    );
    let mut console = Client::login_as(pooler.port(), &[USER[0], ("database", "pgweir")]);
    console.say("Q DISABLE shop");
    assert_eq!(console.hears_up_to("ZI"), "C[DISABLE] ZI");
    let order = [("order", "DISABLE".into()), ("about", "shop".into()), ("user", "app".into())];
    says("DISABLE 'shop' command issued", &order);
}

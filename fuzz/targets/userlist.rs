//! PgBouncer's list of users.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgweir::config::userlist::parse;

fuzz_target!(|text: &str| {
    match parse("users.txt", text) {
        Ok(users) => {
            // Written again, it reads as the same.
            let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let again: String = users
                .iter()
                .map(|(name, secret)| format!("{} {} x\n", quoted(name), quoted(secret.expose())))
                .collect();
            let whole = users.iter().all(|(name, secret)| {
                !name.contains(['\n', '\r']) && !secret.expose().contains(['\n', '\r'])
            });
            assert!(!whole || parse("users.txt", &again).as_ref() == Ok(&users));
        }
        // Problems show nothing of a line.
        Err(problems) => assert!(problems.to_string().lines().all(|line| {
            line.starts_with("users.txt:") && line.ends_with("(a line is: \"name\" \"secret\")")
        })),
    }
});

//! Channels that are bound, and what somebody on the way may try.

use super::*;

fn binding(name: &str) -> Option<Binding> {
    Some(Binding(name.as_bytes().into()))
}

/// A login between our two sides: the client's end is bound by one thing, the server's by another.
fn play_bound(ours: Option<Binding>, theirs: Option<Binding>) -> Played {
    let mock = quick_mock();
    let server = ServerAuth::new(USER, password("pencil")).over(ours);
    let client = ClientAuth::start(Method::Scram, USER, account("pencil", &mock), &mock, theirs);
    play_on(server, client)
}

#[test]
fn channel_is_bound_where_both_sides_can() {
    let both = play_bound(binding("certificate"), binding("certificate"));
    assert!(both.accepted.is_ok() && both.let_in == Ok(true));
    assert!(both.transcript[1].windows(18).any(|part| part == b"SCRAM-SHA-256-PLUS"));
    assert_eq!(both.methods, ["scram-sha-256-plus"; 2]);
    for (ours, theirs) in [(binding("certificate"), None), (None, binding("certificate"))] {
        let one = play_bound(ours, theirs);
        assert!(one.accepted.is_ok() && one.let_in == Ok(true));
        assert!(!one.transcript[1].windows(5).any(|part| part == b"-PLUS"));
        assert_eq!(one.methods, ["scram-sha-256"; 2]);
    }
}

#[test]
fn method_is_named_by_what_was_chosen_and_not_by_what_was_offered() {
    let mock = quick_mock();
    let offered = || {
        let (auth, outcome) =
            ClientAuth::start(Method::Scram, USER, Account::Unknown, &mock, binding("x"));
        let Outcome::Send(offer) = outcome else { panic!("no offer") };
        assert!(offer.windows(5).any(|part| part == b"-PLUS"));
        assert_eq!(auth.method(), "scram-sha-256");
        auth
    };
    for (mechanism, first, method) in [
        ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=abc", "scram-sha-256-plus"),
        ("SCRAM-SHA-256", "n,,n=,r=abc", "scram-sha-256"),
        ("SCRAM-SHA-256-PLUS", "n,,n=,r=abc", "scram-sha-256"),
    ] {
        let mut auth = offered();
        auth.received(&initial(mechanism, first.as_bytes()));
        assert_eq!(auth.method(), method, "{mechanism} {first}");
    }
    for (offers, method) in [
        (&["SCRAM-SHA-256-PLUS"][..], "scram-sha-256-plus"),
        (&["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"], "scram-sha-256-plus"),
        (&["SCRAM-SHA-256"], "scram-sha-256"),
    ] {
        let mut server = ServerAuth::new(USER, password("pencil")).over(binding("x"));
        let Ok(Progress::Send(first)) = server.received(&body(&message::sasl(offers), b'R')) else {
            panic!("no answer");
        };
        let bound = first.windows(2).any(|part| part == b"p=");
        assert_eq!((server.method(), bound), (Some(method), method.ends_with("plus")));
    }
}

#[test]
fn ends_of_two_channels_do_not_meet() {
    let played = play_bound(binding("somebody between us"), binding("certificate"));
    let wrong = "the channel binding differs from the one announced";
    assert_eq!(played.accepted.unwrap_err(), Rejection::Malformed(Malformed(wrong)));
}

#[test]
fn an_offer_that_was_removed_is_noticed() {
    let mock = quick_mock();
    let start =
        |bound| ClientAuth::start(Method::Scram, USER, account("pencil", &mock), &mock, bound).0;
    let goes_on = |bound: Option<Binding>, mechanism: &str, header: &str| {
        let first = format!("{header}n=,r=abc");
        matches!(start(bound).received(&initial(mechanism, first.as_bytes())), Outcome::Send(_))
    };
    let (plain, plus, bound) = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,");
    for (mechanism, header, when_offered, when_not) in [
        (plain, "n,,", true, true),
        // It could, and believes that we can't.
        (plain, "y,,", false, true),
        (plain, bound, false, false),
        (plus, bound, true, false),
        (plus, "p=tls-unique,,", false, false),
        (plus, "p=tls-server-end-point,a=x,", false, false),
        (plus, "n,,", false, false),
        (plus, "y,,", false, false),
    ] {
        assert_eq!(goes_on(binding("x"), mechanism, header), when_offered, "{mechanism} {header}");
        assert_eq!(goes_on(None, mechanism, header), when_not, "{mechanism} {header}");
    }
    // Our own end says so as well.
    let mut server = ServerAuth::new(USER, password("pencil")).over(binding("x"));
    let offer = body(&message::sasl(&["SCRAM-SHA-256"]), b'R');
    let Ok(Progress::Send(first)) = server.received(&offer) else { panic!("no answer") };
    assert!(first.windows(3).any(|part| part == b"y,,"), "{first:?}");
    assert_eq!(server.method(), Some("scram-sha-256"));
}

//! Both sides of every login, played against each other and against junk.

mod binding;

use std::sync::Arc;

use proptest::prelude::*;

use super::message;
use super::scram::ROUNDS;
use super::scram::accept::{Challenged, Offer};
use super::scram::prove::{Channel, Opened};
use super::*;

/// `pg_authid.rolpassword` of a role of Postgres 15 whose password is `pencil`.
const VERIFIER: &str = "SCRAM-SHA-256$4096:CRBJEecUwNGiCetdoYmBEA==$GGQlwy/MbyzS9QL7tIlgi5eyHL/\
                        WRfUfKnamxKjoFcg=:2wVF3C3OLcGJC1wzqNACnr3CY9aSL5A9JP8h11b0qxI=";
/// The same of a role whose password is [`UNICODE_PASSWORD`], so that SASLprep changes it.
const UNICODE_VERIFIER: &str = "SCRAM-SHA-256$4096:XOsYZZdDaRNV2FTp1nlPeQ==$sfJgyBxVYh5vyEvZKw0T\
                                cveztqsDJFhA2SPP6J9IyXs=:9ZRG/xI/5KT7Gyp57V1xmlqGNtlNM7/\
                                OzYR5XnoCS0A=";
const UNICODE_PASSWORD: &str = "pa\u{a0}ss\u{ad}w\u{2168}rd";
/// `pg_authid.rolpassword` of role `m` of Postgres 15 whose password is `mpass`.
const MD5_OF_M: &str = "md5db54a0edd1c7221d87eb6d36fbe94023";

const USER: &str = "alice";

fn mock() -> Mock {
    Mock::from_key([7; 32])
}

/// A mock whose hashing is cheap, where a test logs in often.
fn quick_mock() -> Mock {
    mock().with_iterations(Iterations::new(2).unwrap())
}

fn account(stored: &str, mock: &Mock) -> Account {
    let stored = StoredSecret::parse(stored).unwrap();
    Account::WithSecret(Arc::new(UserSecret::new(USER, stored, mock)))
}

fn password(text: &str) -> Option<Arc<ServerSecret>> {
    Some(Arc::new(ServerSecret::parse(text).unwrap()))
}

/// The bodies of complete messages, each with its type.
fn bodies(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut bodies = Vec::new();
    while let Some((kind, rest)) = bytes.split_first() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        bodies.push((*kind, rest[4..length].to_vec()));
        bytes = &rest[length..];
    }
    bodies
}

fn body(message: &[u8], kind: u8) -> Vec<u8> {
    let mut all = bodies(message);
    assert_eq!(all.len(), 1, "one message");
    let (found, body) = all.remove(0);
    assert_eq!(found, kind);
    body
}

/// How a login between our two sides ended, and every message of it.
struct Played {
    accepted: Result<Proof, Rejection>,
    let_in: Result<bool, ServerAuthError>,
    transcript: Vec<Vec<u8>>,
    /// What the client's side and ours call it.
    methods: [&'static str; 2],
}

fn play(
    method: Method,
    account: Account,
    mock: &Mock,
    secret: Option<Arc<ServerSecret>>,
) -> Played {
    let client = ClientAuth::start(method, USER, account, mock, None);
    play_on(ServerAuth::new(USER, secret), client)
}

/// Plays a login that has started between our two sides.
fn play_on(mut server: ServerAuth, client: (ClientAuth, Outcome)) -> Played {
    let (mut client, mut outcome) = client;
    let mut transcript = Vec::new();
    loop {
        let methods = [client.method(), server.method().unwrap_or("none")];
        let (send, accepted) = match outcome {
            Outcome::Send(send) => (send, None),
            Outcome::Accepted { send, proof } => (send, Some(proof)),
            Outcome::Rejected(rejection) => {
                return Played { accepted: Err(rejection), let_in: Ok(false), transcript, methods };
            }
        };
        transcript.push(send.clone());
        let mut reply = Ok(Progress::Wait);
        for (kind, body) in bodies(&send) {
            assert_eq!(kind, b'R');
            reply = server.received(&body);
        }
        match (accepted, reply) {
            (Some(proof), reply) => {
                let let_in = reply.map(|progress| progress == Progress::Done);
                return Played { accepted: Ok(proof), let_in, transcript, methods };
            }
            (None, Ok(Progress::Send(answer))) => {
                transcript.push(answer.clone());
                outcome = client.received(&body(&answer, b'p'));
            }
            (None, Ok(progress)) => panic!("the client's side stopped with {progress:?}"),
            (None, Err(error)) => {
                return Played {
                    accepted: Err(Rejection::Mechanism),
                    let_in: Err(error),
                    transcript,
                    methods,
                };
            }
        }
    }
}

#[test]
fn exchange_of_rfc_7677_gives_its_messages() {
    let nonce = "rOprNGfwEbeRWgbNEkqO";
    let server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let salt = [
        0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa,
        0x81,
    ];
    let verifier = Verifier::new(b"pencil", &salt, Iterations::DEFAULT);
    let keys = ScramKeys::of_password(b"pencil", &salt, Iterations::DEFAULT);

    let opened = Opened::named(Channel::Unbound, "user", nonce.to_owned());
    assert_eq!(opened.client_first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let challenged = Challenged::new(
        Offer::None,
        &opened.client_first(),
        &salt,
        Iterations::DEFAULT,
        server_nonce,
    )
    .unwrap();
    assert_eq!(
        challenged.server_first(),
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let (client_final, expected) =
        opened.challenge(challenged.server_first()).unwrap().answer(&keys);
    assert_eq!(
        String::from_utf8(client_final.clone()).unwrap(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let client_final = challenged.client_final(&client_final).unwrap();
    let accepted = challenged.check(&client_final, &verifier).unwrap();
    assert_eq!(accepted.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(accepted.keys, keys, "the client's keys are recovered from the proof");
    assert!(expected.is_met_by(accepted.server_final.as_bytes()).unwrap());
}

#[test]
fn secrets_of_postgres_are_made_again_from_their_passwords() {
    assert_eq!(md5_hash("m", "mpass"), MD5_OF_M);
    for (text, password) in [(VERIFIER, "pencil"), (UNICODE_VERIFIER, UNICODE_PASSWORD)] {
        let verifier = Verifier::parse(text).unwrap();
        assert_eq!(verifier.to_secret_text(), text);
        let again = Verifier::new(password.as_bytes(), verifier.salt(), verifier.iterations());
        assert_eq!(again.to_secret_text(), text);
    }
}

#[test]
fn bytes_that_are_no_utf8_are_hashed_as_they_are() {
    let one = Iterations::new(1).unwrap();
    let verifier = Verifier::new(b"caf\xe9", b"salt", one);
    assert!(verifier.is_of_password(b"caf\xe9"));
    assert!(!verifier.is_of_password("caf\u{e9}".as_bytes()));
    // SASLprep maps a soft hyphen to nothing, and nothing is no password.
    let hyphen = Verifier::new("\u{ad}".as_bytes(), b"salt", one);
    assert!(!hyphen.is_of_password(b""));
}

#[test]
fn verifier_of_a_password_is_fresh_each_time() {
    let few = Iterations::new(3).unwrap();
    let one = Verifier::of_password("pencil", few);
    assert!(Verifier::parse(&one.to_secret_text()).unwrap().is_of_password(b"pencil"));
    assert_ne!(one, Verifier::of_password("pencil", few));
}

#[test]
fn secret_text_is_told_apart_as_postgres_does() {
    let form = |text: &str| StoredSecret::parse(text).map(|secret| secret.form());
    assert_eq!(form("pencil"), Ok("plain"));
    assert_eq!(form(MD5_OF_M), Ok("md5"));
    assert_eq!(form(VERIFIER), Ok("scram-sha-256"));
    // Not 32 lower-case digits: Postgres takes these for passwords.
    assert_eq!(form(&MD5_OF_M.to_uppercase()), Ok("plain"));
    assert_eq!(form(&format!("md5{}", "A".repeat(32))), Ok("plain"));
    assert_eq!(form(&MD5_OF_M[..34]), Ok("plain"));
    assert_eq!(form(&format!("{MD5_OF_M}0")), Ok("plain"));
    assert_eq!(form("SCRAM-SHA-256"), Ok("plain"));

    assert_eq!(form(""), Err(SecretError::Empty));
    assert_eq!(form("pen\0cil"), Err(SecretError::Nul));
    assert_eq!(form(&"x".repeat(65_528)), Ok("plain"));
    assert_eq!(form(&"x".repeat(65_529)), Err(SecretError::TooLong));
}

#[test]
fn broken_verifier_is_an_error_and_not_a_password() {
    let with = |from: &str, to: &str| VERIFIER.replacen(from, to, 1);
    let broken = [
        with("4096", "0"),
        with("4096", "1000001"),
        with("4096", "4294967297"),
        with("4096", "-1"),
        with("4096", "+4096"),
        with("4096", " 4096"),
        with("4096", ""),
        with(":CRBJEecUwNGiCetdoYmBEA==", ""),
        with("CRBJEecUwNGiCetdoYmBEA==", ""),
        with("CRBJEecUwNGiCetdoYmBEA==", "CRBJ*ecU"),
        with("CRBJEecUwNGiCetdoYmBEA==", &"AAAA".repeat(300)),
        with("GGQlwy", "GGQlw"),
        with("GGQlwy", "GG*lwy"),
        with("2wVF3C3O", ""),
        format!("{VERIFIER}="),
        format!("{VERIFIER}:AAAA"),
    ];
    for text in
        broken.iter().map(String::as_str).chain((14..VERIFIER.len()).map(|n| &VERIFIER[..n]))
    {
        assert_eq!(StoredSecret::parse(text), Err(SecretError::Verifier), "{text}");
    }
    assert_eq!(ServerSecret::parse(VERIFIER).unwrap_err(), SecretError::ProvesNothing);
}

#[test]
fn secrets_never_show_in_debug_output() {
    let mock = quick_mock();
    let mut shown = String::new();
    for stored in ["pencil", VERIFIER, &md5_hash(USER, "pencil")] {
        for method in [Method::Scram, Method::Md5, Method::Plain] {
            let account = account(stored, &mock);
            let server = ServerAuth::new(USER, password("pencil"));
            shown +=
                &format!("{:?}", ClientAuth::start(method, USER, account.clone(), &mock, None).0);
            shown += &format!("{account:?} {mock:?} {server:?}");
            let played = play(method, account, &mock, password("pencil"));
            shown += &format!("{:?} {:?}", played.accepted, played.let_in);
        }
    }
    let hash = md5_hash(USER, "pencil");
    for secret in ["pencil", "GGQlwy", "2wVF3C", &hash[3..], "[7, 7"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("***"));
}

/// What a client with this secret gets under each method, for a user stored like this.
fn check_login(method: Method, stored: &str, secret: &str, wanted: Option<&str>) {
    let mock = quick_mock();
    let played = play(method, account(stored, &mock), &mock, password(secret));
    let proof = played.accepted.as_ref().ok().map(|proof| match proof {
        Proof::Any => "any",
        Proof::Trust => "trust",
        Proof::Plain(_) => "plain",
        Proof::Md5 => "md5",
        Proof::Scram(_) => "scram",
    });
    assert_eq!(proof, wanted, "{method:?}, stored {stored}, knows {secret}");
    match wanted {
        Some(_) => assert_eq!(played.let_in, Ok(true)),
        None => {
            assert_eq!(played.accepted.unwrap_err(), Rejection::NotProven(Why::WrongPassword));
        }
    }
}

#[test]
fn each_method_accepts_the_right_password_in_each_form() {
    let hash = md5_hash(USER, "pencil");
    let table = [
        (Method::Scram, "pencil", "scram"),
        (Method::Scram, VERIFIER, "scram"),
        (Method::Md5, "pencil", "md5"),
        (Method::Md5, hash.as_str(), "md5"),
        (Method::Md5, VERIFIER, "scram"),
        (Method::Plain, "pencil", "plain"),
        (Method::Plain, hash.as_str(), "plain"),
        (Method::Plain, VERIFIER, "plain"),
    ];
    for (method, stored, proof) in table {
        check_login(method, stored, "pencil", Some(proof));
        check_login(method, stored, "pencils", None);
        check_login(method, stored, "Pencil", None);
    }
    // The hash is all that md5 asks for.
    check_login(Method::Md5, &hash, &hash, Some("md5"));
    check_login(Method::Md5, "pencil", &hash, Some("md5"));
    check_login(Method::Scram, UNICODE_VERIFIER, UNICODE_PASSWORD, Some("scram"));
    check_login(Method::Scram, UNICODE_VERIFIER, "pa ssw\u{2168}rd", Some("scram"));
    check_login(Method::Plain, UNICODE_VERIFIER, UNICODE_PASSWORD, Some("plain"));
}

#[test]
fn trust_wants_a_known_name_and_any_does_not() {
    let mock = quick_mock();
    let end = |method, account| match ClientAuth::start(method, USER, account, &mock, None).1 {
        Outcome::Accepted { send, proof } => {
            assert_eq!(send, message::authentication(0, &[]));
            Ok(format!("{proof:?}"))
        }
        Outcome::Send(_) => panic!("no exchange"),
        Outcome::Rejected(rejection) => Err(rejection),
    };
    assert_eq!(end(Method::Trust, Account::WithoutSecret), Ok("Trust".to_owned()));
    assert_eq!(end(Method::Trust, account("pencil", &mock)), Ok("Trust".to_owned()));
    assert_eq!(end(Method::Trust, Account::Unknown), Err(Rejection::NotProven(Why::UnknownUser)));
    assert_eq!(end(Method::Any, Account::Unknown), Ok("Any".to_owned()));
}

#[test]
fn empty_password_lets_nobody_in() {
    let mock = quick_mock();
    let empty = Verifier::of_password("", Iterations::new(1).unwrap()).to_secret_text();
    for stored in [md5_hash(USER, ""), empty] {
        let (mut client, _) =
            ClientAuth::start(Method::Plain, USER, account(&stored, &mock), &mock, None);
        assert!(matches!(
            client.received(b"\0"),
            Outcome::Rejected(Rejection::NotProven(Why::WrongPassword))
        ));
    }
}

#[test]
fn keys_that_a_client_showed_open_a_server_with_the_same_verifier() {
    let mock = mock();
    let shown = play(Method::Scram, account(VERIFIER, &mock), &mock, password("pencil"));
    let shown = shown.accepted.unwrap().into_server_secret().map(Arc::new);

    let played = play(Method::Scram, account(VERIFIER, &mock), &mock, shown.clone());
    assert!(matches!(played.accepted, Ok(Proof::Scram(_))));
    assert_eq!(played.let_in, Ok(true));

    let other = Verifier::of_password("pencil", Iterations::DEFAULT).to_secret_text();
    let played = play(Method::Scram, account(&other, &mock), &mock, shown.clone());
    let user = USER.to_owned();
    assert_eq!(played.let_in, Err(ServerAuthError::OtherVerifier { user: user.clone() }));

    let played = play(Method::Plain, account(VERIFIER, &mock), &mock, shown);
    assert_eq!(
        played.let_in,
        Err(ServerAuthError::SecretForm {
            method: "a password in clear",
            known: "SCRAM keys",
            user
        })
    );
}

#[test]
fn password_that_a_client_showed_opens_a_server() {
    let mock = quick_mock();
    let shown = play(Method::Plain, account("pencil", &mock), &mock, password("pencil"));
    let shown = shown.accepted.unwrap().into_server_secret().map(Arc::new);
    let played = play(Method::Scram, account(VERIFIER, &mock), &mock, shown);
    assert_eq!(played.let_in, Ok(true));
}

/// Types, codes and lengths of all messages: what an outsider could tell users apart by.
fn outline(played: &Played) -> Vec<(u8, Option<u32>, usize)> {
    let messages = played.transcript.iter().flat_map(|bytes| bodies(bytes));
    messages
        .map(|(kind, body)| {
            let code = (kind == b'R').then(|| u32::from_be_bytes(body[..4].try_into().unwrap()));
            (kind, code, body.len())
        })
        .collect()
}

#[test]
fn unknown_user_is_answered_like_a_wrong_password() {
    let mock = mock();
    let hash = md5_hash(USER, "pencil");
    let salt_in = |played: &Played| {
        let challenge = String::from_utf8_lossy(&played.transcript[2]).into_owned();
        challenge.split(",s=").nth(1).unwrap().to_owned()
    };
    let known = play(Method::Scram, account("pencil", &mock), &mock, password("wrong"));
    assert_eq!(known.accepted.as_ref().unwrap_err(), &Rejection::NotProven(Why::WrongPassword));
    for (account, why) in [
        (Account::Unknown, Why::UnknownUser),
        (Account::WithoutSecret, Why::NoSecret),
        (account(&hash, &mock), Why::SecretForm),
        (account(VERIFIER, &mock), Why::WrongPassword),
    ] {
        let same_salt = why != Why::WrongPassword;
        let played = play(Method::Scram, account, &mock, password("wrong"));
        assert_eq!(played.accepted.as_ref().unwrap_err(), &Rejection::NotProven(why));
        assert_eq!(outline(&played), outline(&known), "{why}");
        // The salt is a user's own, whether or not he exists, and however often one asks.
        assert_eq!(salt_in(&played) == salt_in(&known), same_salt, "{why}");
    }

    for method in [Method::Plain, Method::Md5] {
        let known = play(method, account("pencil", &mock), &mock, password("wrong"));
        let unknown = play(method, Account::Unknown, &mock, password("wrong"));
        assert_eq!(unknown.accepted.unwrap_err(), Rejection::NotProven(Why::UnknownUser));
        assert_eq!(
            outline(&play(method, Account::Unknown, &mock, password("wrong"))),
            outline(&known)
        );
    }
    let scram = mock.clone().with_md5(Md5Mock::Scram);
    let unknown = play(Method::Md5, Account::Unknown, &scram, password("wrong"));
    assert_eq!(outline(&unknown), outline(&known));
}

#[test]
fn password_in_clear_costs_the_same_whoever_it_is_of() {
    let verifier = Verifier::of_password("pencil", Iterations::DEFAULT).to_secret_text();
    let hash = md5_hash(USER, "pencil");
    let rounds = |mock: &Mock, account: Account, password: &str| {
        let (mut auth, _) = ClientAuth::start(Method::Plain, USER, account, mock, None);
        let (costly, before) = (auth.is_costly(), ROUNDS.get());
        auth.received(&[password.as_bytes(), b"\0"].concat());
        let rounds = ROUNDS.get() - before;
        assert_eq!(costly, rounds > 0);
        rounds
    };
    let mock = mock();
    let hashing = mock.clone().with_clear(ClearMock::Hashing);
    for password in ["pencil", "wrong", ""] {
        for known in ["pencil", &hash, &verifier] {
            assert_eq!(rounds(&hashing, account(known, &hashing), password), 4096, "{known}");
        }
        for account in [Account::Unknown, Account::WithoutSecret] {
            assert_eq!(rounds(&hashing, account, password), 4096, "{password}");
        }
        // Where nobody has a verifier nothing is hashed.
        assert_eq!(rounds(&mock, account("pencil", &mock), password), 0);
        assert_eq!(rounds(&mock, Account::Unknown, password), 0);
    }
    // The decoy lets nobody in, and a right password still does.
    for (account, let_in) in [
        (account("pencil", &hashing), true),
        (account(&hash, &hashing), true),
        (account(&verifier, &hashing), true),
        (Account::Unknown, false),
        (Account::WithoutSecret, false),
    ] {
        let played = play(Method::Plain, account, &hashing, password("pencil"));
        assert_eq!(played.accepted.is_ok(), let_in);
    }
}

#[test]
fn mock_is_like_most_of_those_beside_it() {
    let verifier = |rounds: u32| {
        let verifier = Verifier::of_password("pencil", Iterations::new(rounds).unwrap());
        StoredSecret::parse(&verifier.to_secret_text()).unwrap()
    };
    let plain = || StoredSecret::parse("pencil").unwrap();
    let hash = || StoredSecret::parse(MD5_OF_M).unwrap();
    for (secrets, others, rounds, md5, hashes) in [
        (vec![], Others::None, 4096, Md5Mock::Md5, false),
        (vec![], Others::LookedUp, 4096, Md5Mock::Md5, true),
        (vec![plain(), hash()], Others::None, 4096, Md5Mock::Md5, false),
        (vec![verifier(7)], Others::None, 7, Md5Mock::Scram, true),
        (vec![verifier(7), plain()], Others::None, 7, Md5Mock::Md5, true),
        (
            vec![verifier(7), plain(), verifier(9), verifier(9)],
            Others::None,
            9,
            Md5Mock::Scram,
            true,
        ),
        (vec![verifier(9), verifier(7)], Others::None, 9, Md5Mock::Scram, true),
    ] {
        let mock = mock().beside(&secrets, others);
        assert_eq!(mock.iterations().get(), rounds, "{secrets:?}");
        assert_eq!(mock.md5(), md5, "{secrets:?}");
        assert_eq!(mock.decoy(USER).is_some(), hashes, "{secrets:?}");
        assert_eq!(mock.salt_of(USER), Mock::from_key([7; 32]).salt_of(USER));
    }
}

#[test]
fn mock_salts_differ_by_user_and_by_key() {
    assert_eq!(mock().salt_of("alice"), Mock::from_key([7; 32]).salt_of("alice"));
    assert_ne!(mock().salt_of("alice"), mock().salt_of("bob"));
    assert_ne!(mock().salt_of("alice"), Mock::from_key([8; 32]).salt_of("alice"));
    assert_ne!(Mock::random().salt_of("alice"), Mock::random().salt_of("alice"));
}

#[test]
fn proof_of_zeros_does_not_open_the_mock() {
    // StoredKey of the mock is zero: whatever is proven against it must not count.
    let mock = quick_mock();
    let mut login = Challenge::of(Account::Unknown, &mock);
    let message = login.client_final(&[0; 32]);
    assert!(matches!(
        login.client.received(&message),
        Outcome::Rejected(Rejection::NotProven(Why::UnknownUser))
    ));
}

#[test]
fn hashing_is_done_once_per_secret() {
    let mock = quick_mock();
    let stored = StoredSecret::parse("pencil").unwrap();
    let user = UserSecret::new(USER, stored, &mock);
    assert!(std::ptr::eq(user.verifier().unwrap(), user.verifier().unwrap()));

    let few = Iterations::new(1).unwrap();
    let secret = ServerSecret::parse("pencil").unwrap();
    let first = secret.keys(b"salt", few).unwrap();
    assert_eq!(secret.keys(b"salt", few), Some(first));
    assert_eq!(secret.keys_kept(), 1);
    for salt in 0..100_u8 {
        secret.keys(&[salt], few).unwrap();
    }
    assert_eq!(secret.keys_kept(), 8);
}

/// A message made with the nonce of the exchange.
type MadeWith<'a> = &'a dyn Fn(&str) -> String;

/// A client login that has sent its SCRAM challenge.
struct Challenge {
    client: ClientAuth,
    nonce: String,
}

impl Challenge {
    fn of(account: Account, mock: &Mock) -> Challenge {
        let (mut client, _) = ClientAuth::start(Method::Scram, USER, account, mock, None);
        let first = client.received(&initial("SCRAM-SHA-256", b"n,,n=,r=abc"));
        let Outcome::Send(message) = first else { panic!("{first:?}") };
        let text = String::from_utf8(body(&message, b'R')[4..].to_vec()).unwrap();
        let nonce = text.split(',').next().unwrap()[2..].to_owned();
        Challenge { client, nonce }
    }

    fn client_final(&self, proof: &[u8]) -> Vec<u8> {
        use base64::Engine;
        let proof = base64::engine::general_purpose::STANDARD.encode(proof);
        format!("c=biws,r={},p={proof}", self.nonce).into_bytes()
    }
}

fn initial(mechanism: &str, response: &[u8]) -> Vec<u8> {
    body(&message::sasl_initial_response(mechanism, response), b'p')
}

/// A SASLInitialResponse whose inner length is a lie.
fn initial_with_length(length: u32, response: &[u8]) -> Vec<u8> {
    [b"SCRAM-SHA-256\0".as_slice(), &length.to_be_bytes(), response].concat()
}

fn rejection(outcome: Outcome) -> Rejection {
    match outcome {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

#[test]
fn malformed_first_sasl_message_is_rejected_for_known_and_unknown_alike() {
    let good = b"n,,n=,r=abc".as_slice();
    let scram = |text: &str| initial("SCRAM-SHA-256", text.as_bytes());
    let table = [
        vec![],
        vec![0],
        b"SCRAM-SHA-256".to_vec(),
        b"SCRAM-SHA-256\0".to_vec(),
        b"SCRAM-SHA-256\0\0\0\0".to_vec(),
        initial_with_length(0, good),
        initial_with_length(u32::MAX, good),
        initial_with_length(u32::MAX, b""),
        initial_with_length(0x7fff_ffff, good),
        initial_with_length(0x8000_0000, good),
        initial_with_length(10, good),
        initial_with_length(12, good),
        initial("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abc"),
        initial("SCRAM-SHA-1", good),
        initial("scram-sha-256", good),
        initial("", good),
        scram(""),
        scram("n"),
        scram("n,"),
        scram("n,,"),
        scram("n,,n="),
        scram("n,,r=abc"),
        scram("n,,n=,r="),
        scram("n,,n=,r=a b"),
        scram("n,,n=,r=a\0b"),
        scram("n,,n=,r=\u{e9}"),
        scram("n,,n=,r=abc,"),
        scram("n,,n=,r=abc,x"),
        scram("n,,n=,r=abc,=x"),
        scram("n,,m=ext,n=,r=abc"),
        scram("n,a=bob,n=,r=abc"),
        scram("p=tls-server-end-point,,n=,r=abc"),
        scram("p=tls-unique,,n=,r=abc"),
        scram("x,,n=,r=abc"),
        scram("N,,n=,r=abc"),
        scram(&format!("n,,n=,r={}", "a".repeat(1025))),
        scram(&"n".repeat(65_000)),
    ];
    let mock = quick_mock();
    for body in table {
        let start = |account| ClientAuth::start(Method::Scram, USER, account, &mock, None).0;
        let mut known = start(account("pencil", &mock));
        let mut unknown = start(Account::Unknown);
        let rejected = rejection(known.received(&body));
        assert!(!matches!(rejected, Rejection::NotProven(_)), "{body:?}: {rejected}");
        assert_eq!(rejected, rejection(unknown.received(&body)));
        // The login is over: even what would have been right is refused.
        rejection(known.received(&initial("SCRAM-SHA-256", good)));
    }
}

#[test]
fn proper_first_sasl_messages_are_challenged() {
    let nonce = format!("n,,n=,r={}", "a".repeat(1024));
    for text in ["n,,n=,r=abc", "y,,n=,r=abc", "n,,n=bob,r=abc,x=1,y=", &nonce] {
        let mock = quick_mock();
        let (mut client, _) = ClientAuth::start(Method::Scram, USER, Account::Unknown, &mock, None);
        let outcome = client.received(&initial("SCRAM-SHA-256", text.as_bytes()));
        assert!(matches!(outcome, Outcome::Send(_)), "{text}");
    }
}

#[test]
fn malformed_last_sasl_message_is_rejected_for_known_and_unknown_alike() {
    let proof = "A".repeat(43) + "=";
    let table: [MadeWith<'_>; 17] = [
        &|_| String::new(),
        &|n| format!("c=biws,r={n}"),
        &|n| format!("c=biws,r={n},p="),
        &|n| format!("c=biws,r={n},p=AAAA"),
        &|n| format!("c=biws,r={n},p={proof}AAAA"),
        &|n| format!("c=biws,r={n},p={proof},"),
        &|n| format!("c=biws,r={n},p={proof},x=1"),
        &|n| format!("c=biws,r={n},p={proof}\0"),
        &|n| format!("c=biws,r={n},p={}", "*".repeat(44)),
        &|n| format!("c=eSws,r={n},p={proof}"),
        &|n| format!("c=biw,r={n},p={proof}"),
        &|n| format!("c=,r={n},p={proof}"),
        &|n| format!("r={n},c=biws,p={proof}"),
        &|n| format!("c=biws,r={n}x,p={proof}"),
        &|n| format!("c=biws,r={},p={proof}", &n[..n.len() - 1]),
        &|n| format!("c=biws,r={},p={proof}", &n[3..]),
        &|_| "p".repeat(65_000),
    ];
    let mock = quick_mock();
    for message in table {
        let mut known = Challenge::of(account("pencil", &mock), &mock);
        let mut unknown = Challenge::of(Account::Unknown, &mock);
        let text = message(&known.nonce);
        let rejected = rejection(known.client.received(text.as_bytes()));
        assert!(matches!(rejected, Rejection::Malformed(_)), "{text}: {rejected}");
        let text = message(&unknown.nonce);
        assert_eq!(rejected, rejection(unknown.client.received(text.as_bytes())));
    }
}

#[test]
fn malformed_password_message_is_rejected() {
    let mock = quick_mock();
    for method in [Method::Plain, Method::Md5] {
        for body in [b"".as_slice(), b"pencil", b"pencil\0\0", b"pen\0cil\0", b"\0pencil"] {
            for account in [Account::Unknown, account("pencil", &mock)] {
                let (mut client, _) = ClientAuth::start(method, USER, account, &mock, None);
                assert!(
                    matches!(rejection(client.received(body)), Rejection::Malformed(_)),
                    "{method:?} {body:?}"
                );
            }
        }
    }
}

#[test]
fn answer_of_another_challenge_does_not_count() {
    let mock = quick_mock();
    // Replayed md5 answer: the salts of two logins are drawn apart.
    let first = play(Method::Md5, account("pencil", &mock), &mock, password("pencil"));
    let (mut client, _) =
        ClientAuth::start(Method::Md5, USER, account("pencil", &mock), &mock, None);
    let replayed = client.received(&body(&first.transcript[1], b'p'));
    assert_eq!(rejection(replayed), Rejection::NotProven(Why::WrongPassword));

    let first = play(Method::Scram, account("pencil", &mock), &mock, password("pencil"));
    let (mut client, _) =
        ClientAuth::start(Method::Scram, USER, account("pencil", &mock), &mock, None);
    client.received(&body(&first.transcript[1], b'p'));
    let replayed = client.received(&body(&first.transcript[3], b'p'));
    assert!(matches!(rejection(replayed), Rejection::Malformed(_)));
}

#[test]
fn login_cut_at_any_byte_is_never_accepted() {
    let mock = quick_mock();
    for (method, stored) in
        [(Method::Scram, "pencil"), (Method::Md5, "pencil"), (Method::Plain, "pencil")]
    {
        let whole = play(method, account(stored, &mock), &mock, password("pencil"));
        assert!(whole.accepted.is_ok());
        let steps = whole.transcript.len() / 2;
        for step in 0..steps {
            for cut in 0.. {
                let (mut client, mut outcome) =
                    ClientAuth::start(method, USER, account(stored, &mock), &mock, None);
                let mut server = ServerAuth::new(USER, password("pencil"));
                let mut answer = Vec::new();
                for _ in 0..=step {
                    if !answer.is_empty() {
                        outcome = client.received(&answer);
                    }
                    let Outcome::Send(asked) = &outcome else { panic!("{outcome:?}") };
                    let progress = server.received(&body(asked, b'R')).unwrap();
                    let Progress::Send(sent) = progress else { panic!("{progress:?}") };
                    answer = body(&sent, b'p');
                }
                if cut == answer.len() {
                    break;
                }
                let rejected = rejection(client.received(&answer[..cut]));
                assert!(matches!(rejected, Rejection::Malformed(_)), "{method:?} {step} {cut}");
            }
        }
    }
}

/// A server with which our login has sent its client-first; gives the nonce that we sent.
fn opened(secret: &str) -> (ServerAuth, String) {
    let mut server = ServerAuth::new(USER, password(secret));
    let progress = server.received(&r(10, b"SCRAM-SHA-256\0\0")).unwrap();
    let Progress::Send(sent) = progress else { panic!("{progress:?}") };
    let sent = String::from_utf8(body(&sent, b'p')).unwrap();
    (server, sent.rsplit("r=").next().unwrap().to_owned())
}

fn r(code: u32, payload: &[u8]) -> Vec<u8> {
    body(&message::authentication(code, payload), b'R')
}

fn malformed(result: Result<Progress, ServerAuthError>) -> bool {
    matches!(result, Err(ServerAuthError::Malformed(_)))
}

#[test]
fn hostile_challenge_of_a_server_is_refused_by_name() {
    let table: [(MadeWith<'_>, &str); 19] = [
        (&|_| String::new(), "name=value"),
        (&|n| format!("r={n}x"), "no salt"),
        (&|n| format!("r={n}x,s=AAAA"), "no iteration"),
        (&|n| format!("r={n}{},s=AAAA,i=1", "x".repeat(10_240)), "nonce is too long"),
        (&|n| format!("r={n},s=AAAA,i=1"), "does not extend ours"),
        (&|n| format!("r=x{n},s=AAAA,i=1"), "does not extend ours"),
        (&|_| "r=,s=AAAA,i=1".to_owned(), "nonce is empty"),
        (&|n| format!("r={n}\u{e9},s=AAAA,i=1"), "not printable"),
        (&|n| format!("r={n}x,s=,i=1"), "salt is empty"),
        (&|n| format!("r={n}x,s={},i=1", "AAAA".repeat(2560)), "salt is empty, too long"),
        (&|n| format!("r={n}x,s=A*AA,i=1"), "not base64"),
        (&|n| format!("r={n}x,s=AAAA,i=0"), "iteration count"),
        (&|n| format!("r={n}x,s=AAAA,i=1000001"), "iteration count"),
        (&|n| format!("r={n}x,s=AAAA,i=2147483648"), "iteration count"),
        (&|n| format!("r={n}x,s=AAAA,i=99999999999999999999"), "iteration count"),
        (&|n| format!("r={n}x,s=AAAA,i=-1"), "iteration count"),
        (&|n| format!("r={n}x,s=AAAA,i="), "iteration count"),
        (&|n| format!("r={n}x,s=AAAA,i=1,x=1"), "goes on"),
        (&|n| format!("m=ext,r={n}x,s=AAAA,i=1"), "does not start with a nonce"),
    ];
    for (challenge, wanted) in table {
        let (mut server, nonce) = opened("pencil");
        let error = server.received(&r(11, challenge(&nonce).as_bytes())).unwrap_err();
        assert!(matches!(error, ServerAuthError::Malformed(_)), "{error}");
        assert!(error.to_string().contains(wanted), "{error}, not {wanted}");
        assert_eq!(server.received(&r(0, b"")), Err(ServerAuthError::OutOfTurn));
    }
}

#[test]
fn server_without_the_verifier_is_not_believed() {
    let proven = || {
        let (mut server, nonce) = opened("pencil");
        let challenge = format!("r={nonce}x,s=AAAA,i=1");
        assert!(matches!(server.received(&r(11, challenge.as_bytes())), Ok(Progress::Send(_))));
        server
    };
    let zeros = format!("v={}=", "A".repeat(43));
    assert_eq!(
        proven().received(&r(12, zeros.as_bytes())),
        Err(ServerAuthError::Signature { user: USER.to_owned() })
    );
    assert_eq!(proven().received(&r(0, b"")), Err(ServerAuthError::NotProven));
    assert_eq!(opened("pencil").0.received(&r(0, b"")), Err(ServerAuthError::NotProven));
    for text in ["", "v=", "v=AAAA", "e=other-error", &format!("{zeros},x=1"), &zeros[..45]] {
        assert!(malformed(proven().received(&r(12, text.as_bytes()))), "{text}");
    }
}

#[test]
fn server_is_told_apart_by_what_it_asks_for() {
    let user = || USER.to_owned();
    let unsupported =
        |method: &str| Err(ServerAuthError::Unsupported { method: method.to_owned() });
    let no_secret = |method| Err(ServerAuthError::NoSecret { method, user: user() });
    let hash_known =
        |method| Err(ServerAuthError::SecretForm { method, known: "an md5 hash", user: user() });
    let hash = md5_hash(USER, "pencil");
    let scram = b"SCRAM-SHA-256\0\0".as_slice();
    let table = [
        (None, r(0, b""), Ok(Progress::Done)),
        (Some("pencil"), r(0, b""), Ok(Progress::Done)),
        (Some("pencil"), r(3, b""), Ok(Progress::Send(b"p\0\0\0\x0bpencil\0".to_vec()))),
        (None, r(3, b""), no_secret("a password in clear")),
        (None, r(5, b"salt"), no_secret("md5")),
        (None, r(10, scram), no_secret("SCRAM-SHA-256")),
        (Some(hash.as_str()), r(3, b""), hash_known("a password in clear")),
        (Some(hash.as_str()), r(10, scram), hash_known("SCRAM-SHA-256")),
        (Some("pencil"), r(2, b""), unsupported("Kerberos V5")),
        (Some("pencil"), r(6, b""), unsupported("SCM credentials")),
        (Some("pencil"), r(7, b""), unsupported("GSSAPI")),
        (Some("pencil"), r(9, b""), unsupported("SSPI")),
        (Some("pencil"), r(4711, b""), unsupported("authentication method 4711")),
        (
            Some("pencil"),
            r(10, b"SCRAM-SHA-256-PLUS\0OAUTH\x1bBEARER\0\0"),
            unsupported("SASL with SCRAM-SHA-256-PLUS OAUTHBEARER"),
        ),
        (Some("pencil"), r(8, b""), Err(ServerAuthError::OutOfTurn)),
        (Some("pencil"), r(11, b""), Err(ServerAuthError::OutOfTurn)),
        (Some("pencil"), r(12, b""), Err(ServerAuthError::OutOfTurn)),
    ];
    for (secret, body, wanted) in table {
        let mut server = ServerAuth::new(USER, secret.and_then(password));
        assert_eq!(server.received(&body), wanted, "{secret:?} {body:?}");
    }
    for body in [
        b"".to_vec(),
        b"\0\0\0".to_vec(),
        r(0, b"x"),
        r(3, b"x"),
        r(5, b""),
        r(5, b"sal"),
        r(5, b"salty"),
        r(10, b""),
        r(10, b"SCRAM-SHA-256"),
        r(10, b"SCRAM-SHA-256\0"),
        r(10, b"SCRAM-SHA-256\0\0x"),
    ] {
        assert!(malformed(ServerAuth::new(USER, password("pencil")).received(&body)), "{body:?}");
    }
}

#[test]
fn server_that_asks_twice_is_refused() {
    for second in [r(3, b""), r(5, b"salt"), r(10, b"SCRAM-SHA-256\0\0"), r(11, b""), r(12, b"")] {
        let mut server = ServerAuth::new(USER, password("pencil"));
        server.received(&r(5, b"salt")).unwrap();
        assert_eq!(server.received(&second), Err(ServerAuthError::OutOfTurn), "{second:?}");
        let (mut server, _) = opened("pencil");
        if second != r(11, b"") {
            assert_eq!(server.received(&second), Err(ServerAuthError::OutOfTurn), "{second:?}");
        }
    }
    let mut server = ServerAuth::new(USER, None);
    assert_eq!(server.received(&r(0, b"")), Ok(Progress::Done));
    assert_eq!(server.received(&r(0, b"")), Err(ServerAuthError::OutOfTurn));
}

#[test]
fn server_cut_at_any_byte_never_lets_us_in() {
    let mock = quick_mock();
    for cut in 0.. {
        let (mut client, outcome) =
            ClientAuth::start(Method::Scram, USER, account("pencil", &mock), &mock, None);
        let mut server = ServerAuth::new(USER, password("pencil"));
        let Outcome::Send(offer) = outcome else { panic!() };
        let offer = body(&offer, b'R');
        if cut < offer.len() {
            let mut server = ServerAuth::new(USER, password("pencil"));
            assert!(malformed(server.received(&offer[..cut])), "{cut}");
        }
        let Ok(Progress::Send(first)) = server.received(&offer) else { panic!() };
        let Outcome::Send(challenge) = client.received(&body(&first, b'p')) else { panic!() };
        let challenge = body(&challenge, b'R');
        // Cut within the digits of the count it would be well formed: there is one digit here.
        if cut < challenge.len() {
            assert!(server.received(&challenge[..cut]).is_err(), "{cut}");
            continue;
        }
        let Ok(Progress::Send(last)) = server.received(&challenge) else { panic!() };
        let Outcome::Accepted { send, .. } = client.received(&body(&last, b'p')) else { panic!() };
        let signature = bodies(&send).remove(0).1;
        let cut = cut - challenge.len();
        if cut == signature.len() {
            break;
        }
        assert!(malformed(server.received(&signature[..cut])), "{cut}");
    }
}

proptest! {
    #[test]
    fn junk_of_a_client_is_never_accepted(
        method in prop::sample::select(vec![Method::Scram, Method::Md5, Method::Plain]),
        junk in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
    ) {
        let mock = quick_mock();
        let (mut client, _) = ClientAuth::start(method, USER, account("pencil", &mock), &mock, None);
        for body in &junk {
            let outcome = client.received(body);
            prop_assert!(!matches!(outcome, Outcome::Accepted { .. }), "{:?}", outcome);
        }
    }

    #[test]
    fn altered_byte_of_a_client_is_never_accepted(
        place in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let mock = quick_mock();
        let mut server = ServerAuth::new(USER, password("pencil"));
        let (mut client, outcome) =
            ClientAuth::start(Method::Scram, USER, account("pencil", &mock), &mock, None);
        let Outcome::Send(offer) = outcome else { panic!() };
        let Ok(Progress::Send(first)) = server.received(&body(&offer, b'R')) else { panic!() };
        let Outcome::Send(asked) = client.received(&body(&first, b'p')) else { panic!() };
        let Ok(Progress::Send(last)) = server.received(&body(&asked, b'R')) else { panic!() };
        let mut last = body(&last, b'p');
        let at = place.index(last.len());
        last[at] ^= change;
        rejection(client.received(&last));
    }

    #[test]
    fn junk_of_a_server_never_panics(
        code in 0..16_u32,
        attributes in "(r=[a-z]{0,4},?)?(s=[A-Za-z=]{0,6},?)?(i=[0-9]{0,2})?",
        junk in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut server, nonce) = opened("pencil");
        let challenge = attributes.replacen("r=", &format!("r={nonce}"), 1);
        let _unchecked = server.received(&r(11, challenge.as_bytes()));
        let _unchecked = server.received(&r(12, &junk));
        prop_assert_ne!(server.received(&r(0, b"")), Ok(Progress::Done));
        for body in [junk.clone(), r(code, &junk)] {
            let mut server = ServerAuth::new(USER, password("pencil"));
            let _unchecked = server.received(&body);
        }
    }

    #[test]
    fn junk_as_a_secret_never_panics(text in "\\PC{0,80}", tail in "[0-9A-Za-z+/=:$]{0,120}") {
        let _unchecked = StoredSecret::parse(&text);
        let _unchecked = StoredSecret::parse(&format!("SCRAM-SHA-256${tail}"));
    }
}

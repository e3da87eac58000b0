use std::io;
use std::net::IpAddr;

use super::*;

fn no_files(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

#[track_caller]
fn rules(text: &str) -> Vec<HbaRule> {
    parse("hba.conf", text, &no_files).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn check_wrong(line: &str, expected: &str) {
    let problems = parse("hba.conf", &format!("# a comment\n{line}\n"), &no_files).unwrap_err();
    let text = problems.to_string();
    assert!(text.starts_with("hba.conf:2: ") && text.contains(expected), "{line}: {text}");
}

fn named(names: &[&str]) -> Vec<HbaUser> {
    names.iter().map(|name| HbaUser::Named((*name).to_owned())).collect()
}

#[test]
fn a_file_of_postgres_is_read() {
    let rules = rules(
        "\u{feff}# TYPE DATABASE USER ADDRESS METHOD\n\
         local   all   all   peer map=os\n\
         host all,\"all\", shop  app,\"o\"\"brien\"  10.0.0.0/8  scram-sha-256 # why\n\
         hostssl sameuser all ::1/128 cert clientcert=verify-full\n\
         hostnossl replication rep 192.168.1.0 255.255.255.0 \\\n  reject\n\
         host all all samenet md5\n\
         host all all samehost trust\n\
         host all all all password\n",
    );
    assert_eq!(rules.len(), 7);
    let [local, host, ssl, nossl, net, own, all] = rules.as_slice() else { unreachable!() };
    assert_eq!((local.kind, local.method), (HbaKind::Local, HbaMethod::Peer));
    assert_eq!(local.map.as_deref(), Some("os"));
    assert_eq!(
        host.databases,
        [HbaDatabase::All, HbaDatabase::Named("all".into()), HbaDatabase::Named("shop".into())]
    );
    assert_eq!(host.users, named(&["app", "o\"brien"]));
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(host.address, HbaAddress::Net(ip("10.0.0.0"), ip("255.0.0.0")));
    assert_eq!(
        (ssl.databases.as_slice(), ssl.method),
        (&[HbaDatabase::SameUser][..], HbaMethod::Cert)
    );
    assert_eq!(nossl.address, HbaAddress::Net(ip("192.168.1.0"), ip("255.255.255.0")));
    assert_eq!((nossl.method, nossl.origin.as_str()), (HbaMethod::Reject, "hba.conf:5"));
    assert_eq!((net.address, net.method), (HbaAddress::SameNet, HbaMethod::Md5));
    assert_eq!((own.address, own.method), (HbaAddress::SameHost, HbaMethod::Trust));
    assert_eq!((all.address, all.method), (HbaAddress::All, HbaMethod::Plain));
}

#[test]
fn what_cannot_be_carried_out_is_a_problem_of_its_line() {
    for (line, expected) in [
        ("host", "ends before its database"),
        ("host all all 127.0.0.1/32", "ends before its method"),
        ("local all all", "ends before its method"),
        ("socket all all md5", "no kind of connection"),
        ("hostgssenc all all all md5", "GSSAPI"),
        ("include other.conf", "not supported"),
        ("host all +admins all md5", "@file"),
        ("host samerole all all md5", "@file"),
        ("host all /^a all md5", "regular expressions"),
        ("host all all db.example md5", "names of hosts"),
        ("host all all .example md5", "names of hosts"),
        ("host all all 127.0.0.1 md5 x", "`md5` is no address"),
        ("host all all 127.0.0.1/33 md5", "length of its mask"),
        ("host all all ::1/129 md5", "length of its mask"),
        ("host all all ::1/x md5", "length of its mask"),
        ("host all all ::1 255.0.0.0 md5", "two kinds"),
        ("host all all all ldap ldapserver=x", "on purpose"),
        ("host all all all pam", "on purpose"),
        ("host all all all ident", "on purpose"),
        ("host all all all nothing", "is no method"),
        ("host all all all peer", "`local` alone"),
        ("host all all all cert", "`hostssl` alone"),
        ("host all all all md5 map=x", "option `map=x` is for `cert` and `peer` alone"),
        ("hostssl all all all cert map=x map=y", "option `map=y` is given twice"),
        ("hostssl all all all cert map=", "option `map=` has no name"),
        ("local all all peer map", "option `map` has no name"),
        ("host all all all md5 clientcert=verify-ca", "client_tls_sslmode = \"verify-ca\""),
        ("hostssl all all all scram-sha-256 clientcert=verify-full", "beside another method"),
        ("hostssl all all all cert clientcert=verify-ca", "(verify-full)"),
        ("hostssl all all all cert clientcert=no-verify", "(verify-full)"),
        ("hostssl all all all cert clientname=DN", "is its common name (CN)"),
        ("local all all peer clientname=CN", "is its common name (CN)"),
        ("hostssl all all all cert pamservice=x", "option `pamservice=x` is not supported"),
        ("host all all all md5 nonsense", "option `nonsense` is not supported"),
        ("host all all,, all md5", "comma"),
        ("host all \"all all md5", "not closed"),
        ("host all @users all md5", "can't be read"),
        ("host,local all all all md5", "one word"),
    ] {
        check_wrong(line, expected);
    }
}

#[test]
fn options_that_say_what_holds_anyway_are_taken() {
    for (options, map) in [
        ("", None),
        ("clientcert=verify-full", None),
        ("clientcert=1", None),
        ("clientname=CN", None),
        ("map=laptops", Some("laptops")),
        ("clientname=CN map=laptops clientcert=verify-full", Some("laptops")),
    ] {
        let rules = rules(&format!("hostssl all all all cert {options}\n"));
        assert_eq!(rules[0].map.as_deref(), map, "{options}");
    }
}

#[test]
fn lists_stand_in_files_of_their_own() {
    let read = |path: &Path| match path.to_str() {
        Some("etc/users") => Ok("alice bob,\n carol # not dave\n@more\n".to_owned()),
        Some("etc/more") => Ok("\"all\"\n".to_owned()),
        Some("etc/loop") => Ok("@loop".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let rules = parse("etc/hba.conf", "host all @users all md5\n", &read).unwrap();
    assert_eq!(rules[0].users, named(&["alice", "bob", "carol", "all"]));
    let problems = parse("etc/hba.conf", "host all @loop all md5\n", &read).unwrap_err();
    assert!(problems.to_string().contains("too deeply"), "{problems}");
}

#[test]
fn masks_of_any_length_are_right() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    for (address, bits, mask) in [
        ("0.0.0.0", 0, "0.0.0.0"),
        ("10.0.0.0", 9, "255.128.0.0"),
        ("10.0.0.0", 32, "255.255.255.255"),
        ("::", 0, "::"),
        ("::", 1, "8000::"),
        ("::", 128, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ] {
        assert_eq!(mask_of(ip(address), bits), Some(ip(mask)), "{address}/{bits}");
    }
}

#[test]
fn maps_are_read() {
    let lines = parse_ident("ident.conf", "os root postgres\nos \"a b\" all\n", &no_files).unwrap();
    assert_eq!(lines[0].user, HbaUser::Named("postgres".into()));
    assert_eq!((lines[1].outside.as_str(), &lines[1].user), ("a b", &HbaUser::All));
    for line in ["os root", "os /^x$ app", "os a,b app", "os root +admins", "a b c d"] {
        assert!(parse_ident("ident.conf", line, &no_files).is_err(), "{line}");
    }
}

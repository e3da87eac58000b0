//! A user who may only read, in the way that applications write, and in those that attackers do.

use crate::setup::{file, shared};
use crate::support::{APP_DATABASE, Pooler};
use crate::wire::{Client, USER};

fn pooler(settings: &str) -> Pooler {
    let sql = "CREATE TABLE IF NOT EXISTS kept (a int); GRANT ALL ON kept TO PUBLIC";
    // Several tests make it; whoever comes second may find it half made.
    drop(shared().sql(APP_DATABASE, sql));
    Pooler::start(&file(shared().port(), settings, "read_only = true\n"))
}

#[track_caller]
fn check_nothing_written() {
    let count = shared().sql(APP_DATABASE, "SELECT count(*) FROM kept").unwrap();
    assert_eq!(count.trim(), "0");
}

const REFUSED: &str = "E[25006]";

#[test]
fn reads_go_through_and_writes_do_not_get_to_a_server() {
    let pooler = pooler("");
    let mut client = Client::login(pooler.port());
    client.talk("Q select 1", "T D[1] C[SELECT 1] ZI");
    client.talk("Q insert into kept values (1)", &format!("{REFUSED} ZI"));
    client.talk("P - update kept set a = $1 / B - 1 / E / S", &format!("{REFUSED} ZI"));
    // Each request by itself.
    client.talk(
        "Q select 1 / Q delete from kept / P - select 2 / B - / E / S",
        &format!("T D[1] C[SELECT 1] ZI {REFUSED} ZI 1 2 D[2] C[SELECT 1] ZI"),
    );
    // What can't be told from the text, the server refuses.
    client.talk("Q begin", "C[BEGIN] ZT");
    client.talk("Q insert into kept values (1)", &format!("{REFUSED} ZE"));
    client.talk("Q rollback", "C[ROLLBACK] ZI");
    client.talk("Q explain analyze insert into kept values (1)", &format!("{REFUSED} ZI"));
    client.talk("Q begin; select 1; commit", "C[BEGIN] T D[1] C[SELECT 1] C[COMMIT] ZI");
    check_nothing_written();
}

#[test]
fn no_way_leads_out_of_it() {
    for mode in ["transaction", "session"] {
        let pooler = pooler(&format!("pool_mode = \"{mode}\""));
        for script in [
            "Q begin read write",
            "Q set transaction read write",
            "Q set default_transaction_read_only = off",
            "Q set session characteristics as transaction read write",
            "Q select set_config('transaction_read_only', 'off', false)",
            "Q do $$ begin set default_transaction_read_only = off; commit; \
             insert into kept values (1); end $$",
            "Q select query_to_xml('select 1', true, true, '')",
            "P - start transaction read write / B - / E / S",
            "P named set transaction read write / S",
        ] {
            let mut client = Client::login(pooler.port());
            client.say(script);
            assert_eq!(client.rest(), "FATAL[25006]", "{script}");
            // The first statement of a transaction could still choose.
            let mut client = Client::login(pooler.port());
            client.talk("Q begin", "C[BEGIN] ZT");
            client.say(script);
            assert_eq!(client.rest(), "FATAL[25006]", "in a transaction: {script}");
        }
        // What goes back to the start goes back to reading.
        for reset in ["reset all", "discard all"] {
            let mut client = Client::login(pooler.port());
            client.say(&format!("Q {reset}"));
            while client.hear().tag != b'Z' {}
            client.talk("Q show transaction_read_only", "T D[on] C[SHOW] ZI");
        }
    }
    check_nothing_written();
}

#[test]
fn startup_packet_does_not_lead_out_of_it() {
    let pooler = pooler("");
    for parameter in [
        ("default_transaction_read_only", "off"),
        ("Transaction_Read_Only", "off"),
        ("options", "-c default_transaction_read_only=off"),
        ("options", "--default_transaction_read_only=off"),
        ("replication", "database"),
    ] {
        let error = Client::try_login(pooler.port(), &[USER[0], USER[1], parameter]).unwrap_err();
        assert_eq!(error.text(), "FATAL[25006]", "{parameter:?}");
    }
}

//! Code that changes a session without being called by the text that runs it.

use crate::runner::{Protocol, bench};
use crate::wire::Client;

fn sql(sql: &str) {
    bench().cluster().primary().sql("shop", sql).unwrap();
}

/// Relations that lead to `set_config('app.tenant', …)`, each in its own way.
const CODE: &str = "
    create table audited (tenant text);
    create table plain (n int);
    create table parents (n int primary key);
    create table children (n int references parents on delete cascade, tenant text);
    create table parted (n int, tenant text) partition by range (n);
    create table part_one partition of parted for values from (1) to (10);
    create table checked (n int);
    create function sets(tenant text) returns text language plpgsql as $$
        begin return set_config('app.tenant', tenant, false); end $$;
    create function audit() returns trigger language plpgsql as $$
        begin perform sets(new.tenant); return new; end $$;
    create function farewell() returns trigger language plpgsql as $$
        declare found text; begin
            -- The name of a setting by itself.
            SET app.tenant = 'farewell';
            return old;
        end $$;
    create function one() returns text language sql as $$ select sets('a view') $$;
    create trigger audit before insert on audited for each row execute function audit();
    create trigger audit before insert on part_one for each row execute function audit();
    create trigger farewell before delete on children for each row execute function farewell();
    create view seen as select one() as tenant from generate_series(1, 1);
    create view behind as select * from seen;
    create table defaulted (tenant text default sets('a default'), n int);
    create function is_so(n int) returns boolean language plpgsql as $$
        begin set application_name = 'checked'; return n > 0; end $$;
    alter table checked add check (is_so(n));
    create function quiet() returns trigger language plpgsql as $$
        begin
            update plain
            set n = 1 where n = 2;
            return new;
        end $$;
    create trigger quiet before insert on plain for each row execute function quiet();
    grant all on all tables in schema public to app;
";

#[test]
fn what_code_behind_tables_sets_travels_and_reaches_nobody_else() {
    sql(CODE);
    let script = "
        insert into audited values ('a trigger')
        TENANT
        begin
        insert into audited values ('rolled back')
        rollback
        TENANT
        select * from behind
        TENANT
        insert into defaulted (n) values (1)
        TENANT
        insert into parted values (1, 'a partition')
        TENANT
        insert into parents values (1)
        insert into children values (1, 'x')
        delete from parents
        TENANT
        insert into checked values (1)
        show application_name
        insert into plain values (1)
        TENANT";
    let tenant = "select current_setting('app.tenant', true)";
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.map(|line| (protocol, line.replace("TENANT", tenant)));
        let script: Vec<_> =
            [(protocol, "set app.tenant = 'x'".to_owned())].into_iter().chain(lines).collect();
        if let Err(difference) = bench().compare(&[], &script) {
            panic!("{difference}");
        }
    }
    sql(
        "drop view behind, seen; drop table audited, plain, children, parents, parted, defaulted, checked",
    );
}

#[test]
fn code_that_has_just_been_defined_is_reckoned_with() {
    let tenant = "Q select coalesce(current_setting('app.tenant', true), '')";
    let mut others: [Client; 3] = std::array::from_fn(|_| bench().pooled(&[]));
    let mut first = bench().pooled(&[]);
    first.talk("Q create table fresh (tenant text)", "C[CREATE TABLE] ZI");
    first.talk("Q insert into fresh values ('none')", "C[INSERT 0 1] ZI");
    let function = "create function fresh() returns trigger language plpgsql as \
        'begin perform set_config(''app.tenant'', new.tenant, false); return new; end'";
    let trigger =
        "create trigger fresh before insert on fresh for each row execute function fresh()";
    first.talk(&format!("Q {function}"), "C[CREATE FUNCTION] ZI");
    // In one write with what fires it.
    first.talk(
        &format!("Q {trigger} / Q insert into fresh values ('first')"),
        "C[CREATE TRIGGER] ZI C[INSERT 0 1] ZI",
    );
    for turn in 0..12 {
        first.talk(tenant, "T D[first] C[SELECT 1] ZI");
        let other = &mut others[turn % 3];
        other.talk(
            tenant,
            if turn < 3 { "T D[] C[SELECT 1] ZI" } else { "T D[own] C[SELECT 1] ZI" },
        );
        other.talk(
            "P i insert into fresh values ('own') / B i / E / C i / S",
            "1 2 C[INSERT 0 1] 3 ZI",
        );
    }
    first.talk("Q drop table fresh", "C[DROP TABLE] ZI");
}

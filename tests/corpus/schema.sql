-- What the statements of the corpus name. Applied to the primary; the replica has it by streaming.
CREATE TABLE users (id bigint PRIMARY KEY, name text, email text, age int, data jsonb, tags text[],
    created_at timestamptz DEFAULT now(), "Update" int);
CREATE TABLE orders (id serial PRIMARY KEY, user_id bigint REFERENCES users, total numeric(10, 2),
    status text, created_at timestamptz DEFAULT now());
CREATE TABLE items (order_id int, product text, qty int, price numeric);
CREATE TABLE tree (id int, parent_id int, label text);
CREATE TABLE "Quoted Table" ("Id" int, "select" text, "my""col" text);
CREATE TABLE docs (id int, body text, search tsvector);
CREATE TABLE jobs (id int, state text, run_at timestamptz);
CREATE TABLE events (id bigint, at timestamptz, kind text) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE UNLOGGED TABLE cache (key text PRIMARY KEY, value text);
CREATE TABLE parted (id int, x int) PARTITION BY LIST (x);
CREATE UNLOGGED TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
CREATE TABLE audit (at timestamptz, what text);
CREATE SEQUENCE numbers;
CREATE SCHEMA app;
CREATE SCHEMA other;
CREATE TABLE app.things (id int, name text);
CREATE TABLE app.users (id int, name text);
CREATE TABLE app.ledger (id int, amount numeric);
CREATE VIEW v_ledger AS SELECT sum(amount) FROM app.ledger;
CREATE UNLOGGED TABLE other.shared (id int);
CREATE TABLE shared (id int);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b int);
CREATE TABLE moods (id int, m mood, p pair);

INSERT INTO users SELECT n, 'user ' || n, 'u' || n || '@example', n % 90,
    jsonb_build_object('a', n, 'b', jsonb_build_array(n)), ARRAY['x', 'y'], now(), n
    FROM generate_series(1, 20) n;
INSERT INTO orders (user_id, total, status) SELECT n % 20 + 1, n, 'new' FROM generate_series(1, 40) n;
INSERT INTO items SELECT n % 40 + 1, 'p' || n, n % 5, n FROM generate_series(1, 60) n;
INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'a'), (3, 1, 'b'), (4, 2, 'c');
INSERT INTO docs VALUES (1, 'the quick fox', to_tsvector('the quick fox'));
INSERT INTO moods VALUES (1, 'ok', (1, 2));

-- Functions: what they are declared to be, and what they do.
CREATE FUNCTION f_pure(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION f_look(int) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT count(*) FROM users WHERE id = $1';
CREATE FUNCTION f_rows() RETURNS SETOF users STABLE LANGUAGE sql AS 'SELECT * FROM users';
CREATE FUNCTION f_insert() RETURNS int VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), ''f''); SELECT 1';
CREATE FUNCTION f_undeclared(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f_trusted(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f_special(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f_over(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION f_over(text) RETURNS int VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), $1); SELECT 1';
CREATE FUNCTION f_default(bigint DEFAULT nextval('numbers')) RETURNS bigint IMMUTABLE LANGUAGE sql AS
    'SELECT $1';
CREATE FUNCTION f_dated(timestamptz DEFAULT now()) RETURNS timestamptz STABLE LANGUAGE sql AS
    'SELECT $1';
CREATE FUNCTION app.f_path(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION other.f_path(int) RETURNS int VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), ''p''); SELECT 1';
CREATE FUNCTION app."Mixed Case"(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION upper(pair) RETURNS int VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), ''u''); SELECT 1';
CREATE FUNCTION touched(users) RETURNS int VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), ''t''); SELECT 1';
CREATE FUNCTION initials(users) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT left($1.name, 1)';
CREATE FUNCTION add_up(int, int) RETURNS int VOLATILE LANGUAGE sql AS 'SELECT $1 + $2';
CREATE AGGREGATE good_sum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE AGGREGATE bad_sum(int) (SFUNC = add_up, STYPE = int, INITCOND = '0');
CREATE FUNCTION bad_plus(int, int) RETURNS int VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), ''o''); SELECT 1';
CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = bad_plus);
CREATE OPERATOR <*> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE FUNCTION bad_check(int) RETURNS bool VOLATILE LANGUAGE sql AS
    'INSERT INTO audit VALUES (now(), ''c''); SELECT true';
CREATE DOMAIN checked AS int CHECK (bad_check(VALUE));
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE PROCEDURE p_write() LANGUAGE sql AS 'INSERT INTO audit VALUES (now(), ''p'')';

-- Views.
CREATE VIEW v_plain AS SELECT id, name FROM users WHERE age > 3;
CREATE VIEW v_pure AS SELECT f_pure(age) AS n, upper(name) AS name, now() AS at FROM users;
CREATE VIEW v_joined AS SELECT o.id, v.name FROM orders o JOIN v_plain v ON v.id = o.user_id;
CREATE VIEW v_insert AS SELECT f_insert() AS n;
CREATE VIEW v_twice AS SELECT n FROM v_insert;
CREATE VIEW v_thrice AS SELECT n + 1 AS n FROM v_twice;
CREATE VIEW v_nextval AS SELECT nextval('numbers') AS n;
CREATE VIEW v_notify AS SELECT 1 AS n, pg_notify('c', 'x')::text AS t;
CREATE VIEW v_lock AS SELECT * FROM jobs FOR UPDATE;
CREATE VIEW v_behind_lock AS SELECT id FROM v_lock;
CREATE VIEW v_cache AS SELECT * FROM cache;
CREATE VIEW v_activity AS SELECT pid FROM pg_stat_activity;
CREATE VIEW v_catalog AS SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace;
CREATE VIEW v_operator AS SELECT id <+> 1 AS n FROM tree;
CREATE VIEW v_aggregate AS SELECT bad_sum(id) AS n FROM tree;
CREATE VIEW v_subquery AS SELECT id FROM users WHERE EXISTS (SELECT FROM orders WHERE f_insert() > 0);
CREATE MATERIALIZED VIEW m_totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY 1;

-- Policies.
CREATE TABLE guarded (id int, owner text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON guarded USING (owner = current_user);
CREATE TABLE watched (id int);
ALTER TABLE watched ENABLE ROW LEVEL SECURITY;
CREATE POLICY logged ON watched USING (f_insert() > 0);

-- A foreign table that nobody has to reach.
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE distant (id int) SERVER far;

-- A function that shadows one of Postgres's own.
CREATE FUNCTION public.lower(pair) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT ''x''';

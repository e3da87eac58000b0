-- A script under a session lock, as people write them: each statement is a transaction.
SELECT pg_advisory_lock(hashtext('migrations'));
SELECT count(*) = 0 AS first FROM applied WHERE name = 'first' \gset
\if :first
SELECT count(*) FROM gate;
CREATE TABLE items (id serial PRIMARY KEY, name text);
INSERT INTO items (name) VALUES ('one');
INSERT INTO applied VALUES ('first');
\endif
SELECT count(*) = 0 AS second FROM applied WHERE name = 'second' \gset
\if :second
BEGIN;
ALTER TABLE items ADD price int;
UPDATE items SET price = 10;
INSERT INTO applied VALUES ('second');
COMMIT;
\endif
SELECT pg_advisory_unlock(hashtext('migrations'));

--liquibase formatted sql

--changeset pgweir:first
SELECT count(*) FROM gate;
CREATE TABLE items (id serial PRIMARY KEY, name text);
INSERT INTO items (name) VALUES ('one');
INSERT INTO applied VALUES ('first');

--changeset pgweir:second
ALTER TABLE items ADD price int;
UPDATE items SET price = 10;
INSERT INTO applied VALUES ('second');

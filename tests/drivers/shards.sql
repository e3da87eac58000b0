-- The tables of the applications over shards. Numbers of orders are other ones on each shard.
CREATE SEQUENCE order_ids START FIRST_ID INCREMENT 2;
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (
  id bigint PRIMARY KEY,
  name text NOT NULL,
  country_code text NOT NULL REFERENCES countries);
CREATE TABLE orders (
  user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
  id bigint NOT NULL DEFAULT nextval('order_ids'),
  status text NOT NULL DEFAULT 'open',
  placed timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, id));
CREATE TABLE items (
  user_id bigint NOT NULL,
  order_id bigint NOT NULL,
  line integer NOT NULL,
  title text NOT NULL,
  price numeric(12, 2) NOT NULL,
  PRIMARY KEY (user_id, order_id, line),
  FOREIGN KEY (user_id, order_id) REFERENCES orders ON DELETE CASCADE);
INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France'), ('jp', 'Japan');

export const up = pgm => {
  pgm.sql('SELECT count(*) FROM gate')
  pgm.createTable('items', { id: 'id', name: 'text' })
  pgm.sql("INSERT INTO items (name) VALUES ('one')")
  pgm.sql("INSERT INTO applied VALUES ('first')")
}

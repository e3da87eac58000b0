export const up = pgm => {
  pgm.addColumns('items', { price: 'int' })
  pgm.sql('UPDATE items SET price = 10')
  pgm.sql("INSERT INTO applied VALUES ('second')")
}

# Outside of a transaction, as indexes are made in busy tables.
class Second < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!

  def up
    add_column :items, :price, :integer
    execute 'UPDATE items SET price = 10'
    add_index :items, :name, algorithm: :concurrently
    execute "INSERT INTO applied VALUES ('second')"
  end
end

class First < ActiveRecord::Migration[6.1]
  def up
    execute 'SELECT count(*) FROM gate'
    create_table(:items) { |t| t.text :name }
    execute "INSERT INTO items (name) VALUES ('one')"
    execute "INSERT INTO applied VALUES ('first')"
  end
end

# Active Record tries its lock once, on a connection of its own; deployments try again.
require 'active_record'

$stdout.sync = true
ActiveRecord::Base.establish_connection(ENV.fetch('DATABASE_URL'))
told = false
begin
  ActiveRecord::MigrationContext.new("#{__dir__}/migrations", ActiveRecord::SchemaMigration).migrate
rescue ActiveRecord::ConcurrentMigrationError
  puts 'locked out' unless told
  told = true
  sleep 0.05
  retry
end

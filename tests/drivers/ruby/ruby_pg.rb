# Ruby pg: libpq as it is, with exec_params, prepared names, pipelines and COPY.
require 'json'
require 'pg'
require 'stringio'

CLIENTS = 8
ROUNDS = 60
DISTINCT = 350 # more statements than a server keeps prepared
SCHEMA = ENV.fetch('DRIVER_SCHEMA')
TABLE = "#{SCHEMA}.rows"
CHECKS = []
$stdout.sync = true
Thread.report_on_exception = false

def check(name, &body) = CHECKS << [name, body]

def connect(**options)
  conn = PG.connect(ENV.fetch('DATABASE_URL'), connect_timeout: 10, **options)
  conn.set_notice_processor { |_| }
  return conn unless block_given?

  begin
    yield conn
  ensure
    conn.close
  end
end

def equal(got, want)
  raise "got #{got.inspect[0, 200]}, want #{want.inspect[0, 200]}" unless got == want
end

def raises(sqlstate)
  yield
rescue PG::Error => e
  equal(e.result&.error_field(PG::PG_DIAG_SQLSTATE), sqlstate)
else
  raise "no error, want SQLSTATE #{sqlstate}"
end

def at_once(count, &body)
  Array.new(count) { |number| Thread.new { connect { |conn| body.call(number, conn) } } }.each(&:join)
end

def rows(conn, query, *params) = conn.exec_params(query, params).values
def value(conn, query, *params) = rows(conn, query, *params)[0][0]

check('tables') { connect { |conn| conn.exec("CREATE TABLE #{TABLE} (tag text, n int, note text)") } }

check('parameters') do
  connect do |conn|
    blob = (0..255).map(&:chr).join.b
    query = 'SELECT $1::int, $2::text, $3::text, $4::numeric, $5::timestamptz = $5::timestamptz, $6::int[], $7::jsonb'
    values = ['42', "naïve ☃ 'q'", nil, '12345678901234567890.123456789', '2024-02-29 12:00+00', '{1,NULL,3}', '{"a": [1]}']
    want = values.dup.tap { |row| row[4] = 't' }
    conn.prepare('all', query)
    8.times do
      equal(rows(conn, query, *values), [want])
      equal(conn.exec_prepared('all', values).values, [want])
      equal(conn.exec_params('SELECT $1::bytea', [{ value: blob, format: 1 }], 1).getvalue(0, 0), blob)
    end
    described = conn.describe_prepared('all')
    equal([described.nparams, described.nfields, described.paramtype(1)], [7, 7, 25])
  end
end

check('clients_see_their_own_rows') do
  at_once(CLIENTS) do |number, conn|
    tag = "c#{number}"
    conn.prepare('own', 'SELECT $1::text, $2::int')
    ROUNDS.times do |n|
      equal(rows(conn, 'SELECT $1::text, $2::int', tag, n), [[tag, n.to_s]])
      equal(conn.exec_prepared('own', [tag, n]).values, [[tag, n.to_s]])
      conn.transaction do
        rows(conn, "INSERT INTO #{TABLE} VALUES ($1, $2)", tag, n)
        equal(value(conn, "SELECT count(*) FROM #{TABLE} WHERE tag = $1", tag), (n + 1).to_s)
      end
      raises('22012') { rows(conn, 'SELECT 1 / $1::int', 0) } if (n % 5).zero?
    end
  end
  connect { |conn| equal(value(conn, "SELECT count(*) FROM #{TABLE}"), (CLIENTS * ROUNDS).to_s) }
end

# The same names stand for other texts on other clients.
check('many_distinct_statements') do
  at_once(3) do |number, conn|
    DISTINCT.times { |n| conn.prepare("s#{n}", "SELECT $1::text, #{n}, #{number}") }
    (DISTINCT * 2).times do |n|
      n %= DISTINCT
      equal(conn.exec_prepared("s#{n}", ['x']).values, [['x', n.to_s, number.to_s]])
    end
  end
end

check('prepared_names') do
  at_once(4) do |number, conn|
    20.times do |n|
      conn.prepare('name', "SELECT $1::int + #{number}")
      raises('42P05') { conn.prepare('name', 'SELECT 2') }
      equal(conn.exec_prepared('name', [n]).values, [[(n + number).to_s]])
      conn.exec('DEALLOCATE name')
      raises('26000') { conn.exec_prepared('name', [n]) }
      raises('26000') { conn.describe_prepared('name') }
      raises('26000') { conn.exec('DEALLOCATE name') }
      raises('42601') { conn.prepare('broken', 'SELEC 1') }
      raises('26000') { conn.exec_prepared('broken') }
      conn.prepare('other', 'SELECT 7')
      conn.exec('DEALLOCATE ALL')
      raises('26000') { conn.exec_prepared('other') }
    end
  end
end

check('unnamed_statement_over_two_round_trips') do
  at_once(4) do |number, conn|
    30.times do |n|
      conn.prepare('', "SELECT $1::text, #{number}")
      equal(conn.describe_prepared('').nfields, 2)
      2.times { equal(conn.exec_prepared('', [n]).values, [[n.to_s, number.to_s]]) }
    end
  end
end

check('transactions_and_savepoints') do
  connect do |conn|
    8.times do
      conn.exec("BEGIN; INSERT INTO #{TABLE} VALUES ('tx', 1); ROLLBACK")
      conn.transaction do
        rows(conn, "INSERT INTO #{TABLE} VALUES ('tx', $1)", 2)
        conn.exec('SAVEPOINT a')
        rows(conn, "INSERT INTO #{TABLE} VALUES ('tx', $1)", 3)
        raises('22012') { rows(conn, 'SELECT 1 / $1::int', 0) }
        raises('25P02') { rows(conn, 'SELECT $1::int', 0) }
        equal(conn.transaction_status, PG::PQTRANS_INERROR)
        conn.exec('ROLLBACK TO SAVEPOINT a')
      end
      equal(conn.transaction_status, PG::PQTRANS_IDLE)
    end
    equal(rows(conn, "SELECT n, count(*) FROM #{TABLE} WHERE tag = 'tx' GROUP BY n"), [%w[2 8]])
  end
end

check('errors_leave_the_connection_usable') do
  connect do |conn|
    10.times do |n|
      raises('42601') { conn.exec('SELEC 1') }
      raises('42P01') { rows(conn, "SELECT $1::int FROM #{SCHEMA}.absent", n) }
      raises('22P02') { rows(conn, 'SELECT $1::text::int', 'x') }
      raises('26000') { conn.exec('EXECUTE no_such_name') }
      equal(value(conn, 'SELECT $1::int', n), n.to_s)
    end
  end
end

def results_until_sync(conn)
  results = []
  loop do
    result = conn.get_result or next
    return results if result.result_status == PG::PGRES_PIPELINE_SYNC

    results << result
  end
end

check('pipeline') do
  at_once(CLIENTS) do |number, conn|
    10.times do |round|
      conn.enter_pipeline_mode
      conn.send_prepare("p#{round}", 'SELECT $1::text, $2::int')
      30.times { |n| conn.send_query_prepared("p#{round}", ["p#{number}", n]) }
      conn.pipeline_sync
      conn.send_query_params('SELECT $1::int', [number])
      conn.send_query_params('SELECT 1 / $1::int', [0])
      conn.send_query_params('SELECT $1::int', [number])
      conn.pipeline_sync
      conn.send_query_params('SELECT $1::text', ['after'])
      conn.send_flush_request
      conn.pipeline_sync
      first = results_until_sync(conn)
      equal(first.drop(1).map(&:values), Array.new(30) { |n| [["p#{number}", n.to_s]] })
      second = results_until_sync(conn)
      want = [PG::PGRES_TUPLES_OK, PG::PGRES_FATAL_ERROR, PG::PGRES_PIPELINE_ABORTED]
      equal(second.map(&:result_status), want)
      equal(results_until_sync(conn).map(&:values), [[['after']]])
      conn.exit_pipeline_mode
    end
  end
end

check('cursor_and_single_rows') do
  at_once(4) do |number, conn|
    conn.transaction do
      rows(conn, 'DECLARE c SCROLL CURSOR FOR SELECT $1::int + g FROM generate_series(1, 1000) g', number)
      equal(conn.exec('FETCH 2 FROM c').values, [[(number + 1).to_s], [(number + 2).to_s]])
      equal(conn.exec('FETCH ABSOLUTE 900 FROM c').values, [[(number + 900).to_s]])
    end
    conn.send_query_params('SELECT g FROM generate_series(1, $1::int) g', [3000])
    conn.set_single_row_mode
    sum = 0
    conn.get_result.stream_each_row { |row| sum += row[0].to_i }
    equal(sum, 4501500)
  end
end

check('copy') do
  at_once(4) do |number, conn|
    lines = Array.new(5000) { |n| "copy#{number}\t#{n}\t\\N\n" }
    conn.copy_data("COPY #{TABLE} FROM STDIN") { lines.each { |line| conn.put_copy_data(line) } }
    query = "SELECT * FROM #{TABLE} WHERE tag = 'copy#{number}' ORDER BY n"
    out = []
    conn.copy_data("COPY (#{query}) TO STDOUT") { while (line = conn.get_copy_data) do out << line end }
    equal(out, lines)
    raises('22P02') do
      conn.copy_data("COPY #{TABLE} FROM STDIN") { 500.times { conn.put_copy_data("x\tnot a number\t\\N\n") } }
    end
    begin
      conn.copy_data("COPY #{TABLE} FROM STDIN") { raise 'given up' }
    rescue RuntimeError
      equal(value(conn, 'SELECT $1::int', number), number.to_s)
    end
  end
end

check('large_object') do
  connect do |conn|
    data = '0123456789' * 30_000
    oid = nil
    conn.transaction do
      oid = conn.lo_creat
      object = conn.lo_open(oid, PG::INV_WRITE)
      equal(conn.lo_write(object, data), data.size)
      conn.lo_close(object)
    end
    conn.transaction do
      object = conn.lo_open(oid, PG::INV_READ)
      equal(conn.lo_read(object, 400_000), data)
      conn.lo_close(object)
      conn.lo_unlink(oid)
    end
  end
end

check('large_values_and_results') do
  connect do |conn|
    text = 'abcdefgh' * (1 << 17)
    equal(value(conn, 'SELECT $1::text', text), text)
    got = rows(conn, "SELECT g, 'row ' || g FROM generate_series(1, $1::int) g", 100_000)
    equal([got.size, got.last], [100_000, ['100000', 'row 100000']])
  end
end

check('several_statements_at_once') do
  connect do |conn|
    insert = "INSERT INTO #{TABLE} VALUES ('multi', 1)"
    10.times do |n|
      conn.send_query("SELECT #{n}; SELECT 'b'; SELECT 1 WHERE false")
      results = []
      while (result = conn.get_result) do results << result.values end
      equal(results, [[[n.to_s]], [['b']], []])
      raises('22012') { conn.exec("#{insert}; SELECT 1 / 0; SELECT 3") }
    end
    equal(value(conn, "SELECT count(*) FROM #{TABLE} WHERE tag = 'multi'"), '0')
  end
end

check('notices') do
  connect do |conn|
    seen = []
    conn.set_notice_receiver { |result| seen << result.error_field(PG::PG_DIAG_MESSAGE_PRIMARY) }
    10.times { |n| conn.exec("DO $$ BEGIN RAISE NOTICE 'note #{n}'; END $$") }
    equal(seen, Array.new(10) { |n| "note #{n}" })
  end
end

check('cancel') do
  connect do |conn|
    connect do |other|
      3.times do |n|
        tag = "#{SCHEMA}_#{n}"
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' " \
                 "AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%#{tag}%'"
        conn.send_query("SELECT pg_sleep(30) /* #{tag} */")
        deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + 20
        until value(other, asleep) == '1'
          raise 'not asleep' if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
        end
        conn.cancel
        raises('57014') { conn.get_last_result }
        equal(value(conn, 'SELECT $1::int', n), n.to_s)
      end
    end
  end
end

check('startup_parameters') do
  at_once(4) do |number, _|
    settings = {
      'search_path' => SCHEMA, 'statement_timeout' => '77s', 'TimeZone' => 'Asia/Tokyo',
      'extra_float_digits' => '2', 'work_mem' => "#{2000 + number}kB"
    }
    options = settings.map { |key, want| "-c #{key}=#{want}" }.join(' ')
    connect(options: options, application_name: "app #{number}") do |conn|
      10.times do
        conn.transaction do
          settings.each { |key, want| equal(value(conn, "SHOW #{key}"), want) }
          equal(value(conn, 'SHOW application_name'), "app #{number}")
          conn.exec('SELECT count(*) FROM rows')
        end
      end
    end
  end
end

check('closed_in_transaction') do
  40.times do |n|
    connect { |conn| conn.exec("BEGIN; INSERT INTO #{TABLE} VALUES ('closed', #{n})") }
  end
  connect { |conn| equal(value(conn, "SELECT count(*) FROM #{TABLE} WHERE tag = 'closed'"), '0') }
end

check('reconnect') do
  connect do |conn|
    100.times do |n|
      conn.reset
      equal(value(conn, 'SELECT $1::int', n), n.to_s)
    end
  end
end

failed = CHECKS.count do |name, body|
  puts "run  #{name}"
  body.call
  puts "ok   #{name}"
  false
rescue StandardError => e
  puts e.full_message(highlight: false), "FAIL #{name}: #{e.class}: #{e.message.tr("\n", ' ')}"
  true
end
puts "#{CHECKS.size - failed} of #{CHECKS.size} checks"
exit(failed.zero? ? 0 : 1)

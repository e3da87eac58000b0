// pgjdbc: server-side statements from the fifth use on, portals by fetch size, fastpath.

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.net.URI;
import java.sql.*;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.*;
import java.util.concurrent.*;
import org.postgresql.PGConnection;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PGobject;

public class Pgjdbc {
    static final int CLIENTS = 8, ROUNDS = 60;
    static final int DISTINCT = 350; // more statements than a server keeps prepared
    static final URI ADDRESS = URI.create(System.getenv("DATABASE_URL"));
    static final String SCHEMA = System.getenv("DRIVER_SCHEMA"), TABLE = SCHEMA + ".rows";

    interface Check { void run() throws Exception; }
    interface Client { void run(int number, Connection conn) throws Exception; }

    static Connection connect(String... options) throws SQLException {
        String[] login = ADDRESS.getUserInfo().split(":", 2);
        Properties all = new Properties();
        all.put("user", login[0]);
        all.put("password", login[1]);
        for (int i = 0; i < options.length; i += 2) all.put(options[i], options[i + 1]);
        String where = ADDRESS.getHost() + ":" + ADDRESS.getPort() + ADDRESS.getPath();
        return DriverManager.getConnection("jdbc:postgresql://" + where, all);
    }

    static void equal(Object got, Object want) {
        if (!Objects.deepEquals(got, want)) throw new AssertionError("got " + got + ", want " + want);
    }

    static void raises(String sqlstate, Check check) throws Exception {
        try {
            check.run();
        } catch (SQLException error) {
            equal(error.getSQLState(), sqlstate);
            return;
        }
        throw new AssertionError("no error, want SQLSTATE " + sqlstate);
    }

    static PreparedStatement prepared(Connection conn, String query, Object... params) throws SQLException {
        PreparedStatement statement = conn.prepareStatement(query);
        for (int i = 0; i < params.length; i++) statement.setObject(i + 1, params[i]);
        return statement;
    }

    static List<Object> row(PreparedStatement statement) throws SQLException {
        try (statement; ResultSet rows = statement.executeQuery()) {
            equal(rows.next(), true);
            List<Object> columns = new ArrayList<>();
            for (int i = 1; i <= rows.getMetaData().getColumnCount(); i++) columns.add(rows.getObject(i));
            equal(rows.next(), false);
            return columns;
        }
    }

    static Object value(Connection conn, String query, Object... params) throws SQLException {
        return row(prepared(conn, query, params)).get(0);
    }

    static void execute(Connection conn, String query, Object... params) throws SQLException {
        try (PreparedStatement statement = prepared(conn, query, params)) {
            statement.execute();
        }
    }

    static void simple(Connection conn, String query) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.execute(query);
        }
    }

    static void clients(int count, Client client) throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(count);
        List<Future<?>> running = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int number = i;
            running.add(threads.submit(() -> {
                try (Connection conn = connect()) {
                    client.run(number, conn);
                }
                return null;
            }));
        }
        threads.shutdown();
        for (Future<?> one : running) one.get();
    }

    static void tables() throws Exception {
        try (Connection conn = connect()) {
            simple(conn, "CREATE TABLE " + TABLE + " (id serial PRIMARY KEY, tag text, n int, note text)");
        }
    }

    static void parameters() throws Exception {
        byte[] blob = new byte[256];
        for (int i = 0; i < 256; i++) blob[i] = (byte) i;
        OffsetDateTime noon = OffsetDateTime.of(2024, 2, 29, 12, 0, 0, 123456000, ZoneOffset.UTC);
        BigDecimal big = new BigDecimal("12345678901234567890.123456789");
        PGobject json = new PGobject();
        json.setType("jsonb");
        json.setValue("{\"a\": [1, \"x\"]}");
        String query = "SELECT ?::int, ?::text, ?::text, ?::bytea, ?::numeric, ?::timestamptz, ?::int[], ?::jsonb, ?::float8";
        try (Connection conn = connect(); PreparedStatement statement = conn.prepareStatement(query)) {
            for (int n = 0; n < 12; n++) {
                statement.setInt(1, n);
                statement.setString(2, "naïve ☃ 'q'");
                statement.setNull(3, Types.VARCHAR);
                statement.setBytes(4, blob);
                statement.setBigDecimal(5, big);
                statement.setObject(6, noon);
                statement.setArray(7, conn.createArrayOf("int4", new Object[] {1, null, 3}));
                statement.setObject(8, json);
                statement.setDouble(9, 0.1);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    equal(rows.getInt(1), n);
                    equal(rows.getString(2), "naïve ☃ 'q'");
                    equal(rows.getString(3), null);
                    equal(rows.getBytes(4), blob);
                    equal(rows.getBigDecimal(5), big);
                    equal(rows.getObject(6, OffsetDateTime.class), noon);
                    equal(rows.getArray(7).getArray(), new Integer[] {1, null, 3});
                    equal(rows.getString(8), json.getValue());
                    equal(rows.getDouble(9), 0.1);
                }
            }
        }
    }

    static void clientsSeeTheirOwnRows() throws Exception {
        clients(CLIENTS, (number, conn) -> {
            String tag = "c" + number;
            for (int n = 0; n < ROUNDS; n++) {
                equal(row(prepared(conn, "SELECT ?::text, ?::int", tag, n)), List.of(tag, n));
                conn.setAutoCommit(false);
                execute(conn, "INSERT INTO " + TABLE + " (tag, n) VALUES (?, ?)", tag, n);
                equal(value(conn, "SELECT count(*) FROM " + TABLE + " WHERE tag = ?", tag), n + 1L);
                conn.commit();
                conn.setAutoCommit(true);
                if (n % 5 == 0) raises("22012", () -> value(conn, "SELECT 1 / ?::int", 0));
            }
        });
        try (Connection conn = connect()) {
            equal(value(conn, "SELECT count(*) FROM " + TABLE), (long) CLIENTS * ROUNDS);
        }
    }

    // Each is used often enough to be prepared; the driver itself keeps 256 and closes the others.
    static void manyDistinctStatements() throws Exception {
        clients(2, (number, conn) -> {
            for (int n = 0; n < DISTINCT; n++) {
                String query = "SELECT ?::text AS tag, " + n + " AS n";
                for (int use = 0; use < 7; use++) {
                    equal(row(prepared(conn, query, "c" + number)), List.of("c" + number, n));
                }
            }
            for (int n = DISTINCT - 250; n < DISTINCT; n++) {
                equal(value(conn, "SELECT ?::text AS tag, " + n + " AS n", "again"), "again");
            }
        });
    }

    static void transactionsAndSavepoints() throws Exception {
        try (Connection conn = connect()) {
            conn.setAutoCommit(false);
            String insert = "INSERT INTO " + TABLE + " (tag, n) VALUES ('tx', ?)";
            for (int n = 0; n < 10; n++) {
                execute(conn, insert, 1);
                conn.rollback();
                execute(conn, insert, 2);
                Savepoint point = conn.setSavepoint();
                execute(conn, insert, 3);
                raises("22012", () -> value(conn, "SELECT 1 / ?::int", 0));
                raises("25P02", () -> value(conn, "SELECT ?::int", 1));
                conn.rollback(point);
                conn.releaseSavepoint(conn.setSavepoint("named"));
                conn.commit();
                conn.setReadOnly(true);
                raises("25006", () -> execute(conn, insert, 4));
                conn.rollback();
                conn.setReadOnly(false);
            }
            String query = "SELECT sum(n) FROM " + TABLE + " WHERE tag = 'tx'";
            equal(value(conn, query), 20L);
        }
    }

    static void errorsLeaveTheConnectionUsable() throws Exception {
        try (Connection conn = connect()) {
            for (int i = 0; i < 10; i++) {
                int n = i;
                raises("42601", () -> value(conn, "SELEC ?", n));
                raises("42P01", () -> value(conn, "SELECT ?::int FROM " + SCHEMA + ".absent", n));
                raises("22P02", () -> value(conn, "SELECT ?::text::int", "x"));
                raises("26000", () -> simple(conn, "EXECUTE no_such_name"));
                equal(value(conn, "SELECT ?::int", n), n);
            }
            String later = "SELECT n FROM " + SCHEMA + ".later";
            for (int i = 0; i < 6; i++) raises("42P01", () -> value(conn, later));
            simple(conn, "CREATE TABLE " + SCHEMA + ".later AS SELECT 5 AS n");
            for (int i = 0; i < 6; i++) equal(value(conn, later), 5);
        }
    }

    static void batches() throws Exception {
        clients(4, (number, conn) -> {
            conn.setAutoCommit(number % 2 == 0);
            String insert = "INSERT INTO " + TABLE + " (tag, n) VALUES (?, 100 / ?)";
            try (PreparedStatement batch = conn.prepareStatement(insert, Statement.RETURN_GENERATED_KEYS)) {
                for (int round = 0; round < 3; round++) {
                    for (int n = 1; n <= 1000; n++) {
                        batch.setString(1, "batch" + number);
                        batch.setInt(2, n);
                        batch.addBatch();
                    }
                    equal(Arrays.stream(batch.executeBatch()).sum(), 1000);
                    int keys = 0;
                    for (ResultSet rows = batch.getGeneratedKeys(); rows.next();) keys++;
                    equal(keys, 1000);
                }
                if (!conn.getAutoCommit()) conn.commit();
                for (int n = 0; n < 300; n++) {
                    batch.setString(1, "failing" + number);
                    batch.setInt(2, 200 - n);
                    batch.addBatch();
                }
                raises("22012", batch::executeBatch);
                if (!conn.getAutoCommit()) conn.rollback();
            }
            try (Statement batch = conn.createStatement()) {
                for (int n = 0; n < 20; n++) {
                    batch.addBatch("INSERT INTO " + TABLE + " (tag, n) VALUES ('batch" + number + "', " + n + ")");
                }
                batch.executeBatch();
            }
            String query = "SELECT count(*) FROM " + TABLE + " WHERE tag = ?";
            equal(value(conn, query, "batch" + number), 3020L);
        });
    }

    static void fetchSize() throws Exception {
        clients(4, (number, conn) -> {
            conn.setAutoCommit(false);
            String query = "SELECT ?::int + g FROM generate_series(1, 1000) g";
            for (int round = 0; round < 8; round++) {
                try (PreparedStatement first = prepared(conn, query, number);
                        PreparedStatement second = prepared(conn, query, 5000)) {
                    first.setFetchSize(90);
                    second.setFetchSize(70);
                    ResultSet one = first.executeQuery(), two = second.executeQuery();
                    for (int n = 1; n <= 1000; n++) {
                        equal(one.next() && two.next(), true);
                        equal(one.getInt(1), number + n);
                        equal(two.getInt(1), 5000 + n);
                        if (n % 300 == 0) equal(value(conn, "SELECT ?::int", n), n);
                    }
                }
                conn.commit();
            }
        });
    }

    // The driver changes its session's characteristics where no transaction can say it.
    static void readOnlyToggles() throws Exception {
        String insert = "INSERT INTO " + TABLE + " (tag, n) VALUES ('toggled', ?)";
        clients(4, (number, plain) -> {
            try (Connection conn = connect("readOnlyMode", "always")) {
                for (int n = 0; n < 15; n++) {
                    int value = n;
                    conn.setReadOnly(true);
                    equal(value(conn, "SHOW default_transaction_read_only"), "on");
                    raises("25006", () -> execute(conn, insert, value));
                    conn.setAutoCommit(false);
                    raises("25006", () -> execute(conn, insert, value));
                    conn.rollback();
                    try (PreparedStatement many = prepared(conn, "SELECT g FROM generate_series(1, ?::int) g", 500)) {
                        many.setFetchSize(60);
                        ResultSet rows = many.executeQuery();
                        for (int row = 1; row <= 500; row++) equal(rows.next() ? rows.getInt(1) : 0, row);
                    }
                    conn.commit();
                    conn.setAutoCommit(true);
                    execute(plain, insert, n);
                    conn.setReadOnly(false);
                    execute(conn, insert, n);
                    conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                    equal(value(conn, "SHOW transaction_isolation"), "serializable");
                    equal(value(plain, "SHOW transaction_isolation"), "read committed");
                    conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
                    conn.setSchema(SCHEMA + number);
                    conn.setClientInfo("ApplicationName", "toggler " + number);
                    equal(value(conn, "SHOW search_path"), SCHEMA + number);
                    equal(value(conn, "SELECT current_setting('application_name')"), "toggler " + number);
                }
            }
        });
        try (Connection conn = connect()) {
            equal(value(conn, "SELECT count(*) FROM " + TABLE + " WHERE tag = 'toggled'"), 120L);
        }
    }

    static void copy() throws Exception {
        clients(4, (number, conn) -> {
            StringBuilder lines = new StringBuilder();
            for (int n = 0; n < 5000; n++) lines.append("copy" + number + "\t" + n + "\n");
            var api = conn.unwrap(PGConnection.class).getCopyAPI();
            String target = "COPY " + TABLE + " (tag, n) FROM STDIN";
            equal(api.copyIn(target, new StringReader(lines.toString())), 5000L);
            String source = "(SELECT tag, n FROM " + TABLE + " WHERE tag = 'copy" + number + "' ORDER BY n)";
            StringWriter text = new StringWriter();
            api.copyOut("COPY " + source + " TO STDOUT", text);
            equal(text.toString(), lines.toString());
            ByteArrayOutputStream binary = new ByteArrayOutputStream(), again = new ByteArrayOutputStream();
            api.copyOut("COPY " + source + " TO STDOUT BINARY", binary);
            execute(conn, "DELETE FROM " + TABLE + " WHERE tag = ?", "copy" + number);
            api.copyIn(target + " BINARY", new ByteArrayInputStream(binary.toByteArray()));
            api.copyOut("COPY " + source + " TO STDOUT BINARY", again);
            equal(again.toByteArray(), binary.toByteArray());
            String broken = "x\tnot a number\n".repeat(500);
            raises("22P02", () -> api.copyIn(target, new StringReader(broken)));
            var copy = api.copyIn(target);
            copy.cancelCopy();
            equal(value(conn, "SELECT ?::int", number), number);
        });
    }

    static void largeObject() throws Exception {
        clients(4, (number, conn) -> {
            conn.setAutoCommit(false);
            LargeObjectManager objects = conn.unwrap(PGConnection.class).getLargeObjectAPI();
            byte[] data = new byte[300_000];
            new Random(number).nextBytes(data);
            long oid = objects.createLO();
            try (LargeObject object = objects.open(oid, LargeObjectManager.WRITE)) {
                object.write(data);
            }
            conn.commit();
            try (LargeObject object = objects.open(oid)) {
                equal(object.size(), data.length);
                object.seek(1000);
                equal(object.read(200_000), Arrays.copyOfRange(data, 1000, 201_000));
            }
            raises("42704", () -> objects.open(4_000_000_000L + number));
            conn.rollback();
            objects.delete(oid);
            conn.commit();
        });
    }

    static void largeValuesAndResults() throws Exception {
        byte[] blob = new byte[1 << 20];
        new Random(1).nextBytes(blob);
        try (Connection conn = connect()) {
            for (int n = 0; n < 6; n++) equal(value(conn, "SELECT ?::bytea", blob), blob);
            String query = "SELECT g, 'row ' || g FROM generate_series(1, ?::int) g";
            try (PreparedStatement statement = prepared(conn, query, 100_000)) {
                ResultSet rows = statement.executeQuery();
                int n = 0;
                while (rows.next()) equal(rows.getString(2), "row " + ++n);
                equal(n, 100_000);
            }
        }
    }

    static void severalStatementsAtOnce() throws Exception {
        try (Connection conn = connect(); Statement statement = conn.createStatement()) {
            String insert = "INSERT INTO " + TABLE + " (tag, n) VALUES ('multi', 1); ";
            for (int n = 0; n < 10; n++) {
                equal(statement.execute("SELECT " + n + "; SELECT 'b'"), true);
                statement.getResultSet().next();
                equal(statement.getResultSet().getInt(1), n);
                equal(statement.getMoreResults(), true);
                statement.getResultSet().next();
                equal(statement.getResultSet().getString(1), "b");
                raises("22012", () -> statement.execute(insert + "SELECT 1 / 0; SELECT 3"));
                statement.execute("BEGIN; " + insert + "ROLLBACK");
            }
            equal(value(conn, "SELECT count(*) FROM " + TABLE + " WHERE tag = 'multi'"), 0L);
        }
    }

    static void notices() throws Exception {
        try (Connection conn = connect()) {
            for (int n = 0; n < 10; n++) {
                try (Statement statement = conn.createStatement()) {
                    statement.execute("DO $$ BEGIN RAISE NOTICE 'note " + n + "'; END $$");
                    equal(statement.getWarnings().getMessage(), "note " + n);
                }
            }
        }
    }

    static void metadata() throws Exception {
        try (Connection conn = connect()) {
            List<String> names = new ArrayList<>();
            ResultSet rows = conn.getMetaData().getColumns(null, SCHEMA, "rows", "%");
            while (rows.next()) names.add(rows.getString("COLUMN_NAME"));
            equal(names, List.of("id", "tag", "n", "note"));
            rows = conn.getMetaData().getPrimaryKeys(null, SCHEMA, "rows");
            equal(rows.next() && rows.getString("COLUMN_NAME").equals("id"), true);
        }
    }

    static void cancel() throws Exception {
        try (Connection conn = connect(); Connection other = connect(); Statement sleep = conn.createStatement()) {
            for (int n = 0; n < 3; n++) {
                String tag = SCHEMA + "_" + n;
                String asleep = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
                        + " AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%" + tag + "%'";
                FutureTask<Object> canceller = new FutureTask<>(() -> {
                    long deadline = System.nanoTime() + 20_000_000_000L;
                    while (!value(other, asleep).equals(1L) && System.nanoTime() < deadline) {}
                    sleep.cancel();
                    return null;
                });
                new Thread(canceller).start();
                raises("57014", () -> sleep.execute("SELECT pg_sleep(30) /* " + tag + " */"));
                canceller.get();
                equal(value(conn, "SELECT ?::int", n), n);
            }
            sleep.setQueryTimeout(1);
            raises("57014", () -> sleep.execute("SELECT pg_sleep(30)"));
            equal(value(conn, "SELECT ?::int", 5), 5);
        }
    }

    static void startupParameters() throws Exception {
        clients(4, (number, unused) -> {
            String options = "-c statement_timeout=77s -c work_mem=" + (2000 + number) + "kB";
            // By default the driver sends its name by SET after the login; told that the server is
            // no older than 9.0, it sends it at startup.
            try (Connection conn = connect("ApplicationName", "app " + number, "currentSchema", SCHEMA,
                    "options", options, "assumeMinServerVersion", "9.0")) {
                conn.setAutoCommit(false);
                for (int n = 0; n < 10; n++) {
                    equal(value(conn, "SHOW statement_timeout"), "77s");
                    equal(value(conn, "SHOW work_mem"), 2000 + number + "kB");
                    equal(value(conn, "SHOW search_path"), SCHEMA);
                    equal(value(conn, "SHOW TimeZone"), TimeZone.getDefault().getID());
                    equal(value(conn, "SHOW DateStyle"), "ISO, MDY");
                    equal(value(conn, "SELECT current_setting('application_name')"), "app " + number);
                    equal(value(conn, "SELECT count(*) >= 0 FROM rows"), true);
                    conn.commit();
                }
            }
        });
    }

    static void closedInTransaction() throws Exception {
        for (int n = 0; n < 40; n++) {
            Connection conn = connect();
            conn.setAutoCommit(false);
            execute(conn, "INSERT INTO " + TABLE + " (tag, n) VALUES ('closed', ?)", n);
            if (n % 2 == 0) conn.close();
            else conn.abort(Runnable::run);
        }
        try (Connection conn = connect()) {
            equal(value(conn, "SELECT count(*) FROM " + TABLE + " WHERE tag = 'closed'"), 0L);
        }
    }

    static void reconnect() throws Exception {
        for (int n = 0; n < 100; n++) {
            try (Connection conn = connect()) {
                equal(value(conn, "SELECT ?::int", n), n);
            }
        }
    }

    public static void main(String[] args) {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("tables", Pgjdbc::tables);
        checks.put("parameters", Pgjdbc::parameters);
        checks.put("clients_see_their_own_rows", Pgjdbc::clientsSeeTheirOwnRows);
        checks.put("many_distinct_statements", Pgjdbc::manyDistinctStatements);
        checks.put("transactions_and_savepoints", Pgjdbc::transactionsAndSavepoints);
        checks.put("errors_leave_the_connection_usable", Pgjdbc::errorsLeaveTheConnectionUsable);
        checks.put("batches", Pgjdbc::batches);
        checks.put("fetch_size", Pgjdbc::fetchSize);
        checks.put("read_only_toggles", Pgjdbc::readOnlyToggles);
        checks.put("copy", Pgjdbc::copy);
        checks.put("large_object", Pgjdbc::largeObject);
        checks.put("large_values_and_results", Pgjdbc::largeValuesAndResults);
        checks.put("several_statements_at_once", Pgjdbc::severalStatementsAtOnce);
        checks.put("notices", Pgjdbc::notices);
        checks.put("metadata", Pgjdbc::metadata);
        checks.put("cancel", Pgjdbc::cancel);
        checks.put("startup_parameters", Pgjdbc::startupParameters);
        checks.put("closed_in_transaction", Pgjdbc::closedInTransaction);
        checks.put("reconnect", Pgjdbc::reconnect);
        int failed = 0;
        for (var check : checks.entrySet()) {
            System.out.println("run  " + check.getKey());
            try {
                check.getValue().run();
                System.out.println("ok   " + check.getKey());
            } catch (Throwable error) {
                failed++;
                error.printStackTrace(System.out);
                System.out.println("FAIL " + check.getKey() + ": " + String.valueOf(error).replace("\n", " "));
            }
        }
        System.out.println(checks.size() - failed + " of " + checks.size() + " checks");
        System.exit(failed == 0 ? 0 : 1);
    }
}

// The console by pgjdbc: the extended protocol for all, server-side statements from the fifth use on.

import java.net.URI;
import java.sql.*;
import java.util.*;

public class Console {
    static final URI ADDRESS = URI.create(System.getenv("DATABASE_URL"));
    static final String UNKNOWN_COMMAND = "08P01";

    interface Check { void run() throws Exception; }

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

    static List<Map<String, Object>> rows(ResultSet result) throws SQLException {
        List<Map<String, Object>> rows = new ArrayList<>();
        try (result) {
            ResultSetMetaData columns = result.getMetaData();
            while (result.next()) {
                Map<String, Object> row = new LinkedHashMap<>();
                for (int i = 1; i <= columns.getColumnCount(); i++) row.put(columns.getColumnName(i), result.getObject(i));
                rows.add(row);
            }
        }
        return rows;
    }

    static List<Map<String, Object>> ask(Connection conn, String text) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            return rows(statement.executeQuery(text));
        }
    }

    static void order(Connection conn, String text) throws SQLException {
        try (Statement statement = conn.createStatement()) {
            statement.execute(text);
        }
    }

    static void tables() throws Exception {
        for (String mode : List.of("extended", "simple", "extendedForPrepared", "extendedCacheEverything")) {
            try (Connection conn = connect("preferQueryMode", mode, "ApplicationName", "watcher")) {
                for (int n = 0; n < 8; n++) {
                    List<Map<String, Object>> version = ask(conn, "SHOW VERSION;");
                    equal(version.size(), 1);
                    equal(version.get(0).keySet(), Set.of("version"));
                    Map<String, Object> pool = ask(conn, "SHOW POOLS").get(0);
                    equal(pool.get("cl_active").getClass(), Integer.class);
                    equal(pool.get("database").getClass(), String.class);
                    for (var row : ask(conn, "SHOW STATS_TOTALS")) equal(row.get("query_count").getClass(), java.math.BigDecimal.class);
                    equal(ask(conn, "SHOW LISTS").get(0).get("list"), "databases");
                }
            }
        }
    }

    static void prepared() throws Exception {
        try (Connection conn = connect(); PreparedStatement statement = conn.prepareStatement("SHOW LISTS")) {
            // From the fifth time on by name, and binary.
            for (int n = 0; n < 12; n++) equal(rows(statement.executeQuery()).get(0).get("list"), "databases");
            equal(statement.getMetaData().getColumnCount(), 2);
        }
    }

    static void transactions() throws Exception {
        try (Connection conn = connect()) {
            equal(conn.getTransactionIsolation(), Connection.TRANSACTION_READ_COMMITTED);
            for (boolean readOnly : new boolean[] {false, true}) {
                conn.setAutoCommit(false);
                conn.setReadOnly(readOnly);
                ask(conn, "SHOW POOLS");
                Savepoint savepoint = conn.setSavepoint();
                raises(UNKNOWN_COMMAND, () -> ask(conn, "SHOW NOTHING"));
                conn.rollback(savepoint);
                ask(conn, "SHOW STATE");
                if (readOnly) conn.rollback();
                else conn.commit();
                conn.setAutoCommit(true);
            }
        }
    }

    static void errors() throws Exception {
        try (Connection conn = connect()) {
            for (String text : List.of("SHOW NOTHING", "DROP TABLE t", "SELECT 1")) {
                raises(UNKNOWN_COMMAND, () -> ask(conn, text));
                equal(ask(conn, "SHOW VERSION").size(), 1);
            }
        }
    }

    static void severalStatementsAtOnce() throws Exception {
        try (Connection conn = connect(); Statement statement = conn.createStatement()) {
            equal(statement.execute("SHOW VERSION; /* ; */ SHOW STATE;"), true);
            equal(rows(statement.getResultSet()).size(), 1);
            equal(statement.getMoreResults(), true);
            equal(rows(statement.getResultSet()).size(), 3);
        }
    }

    static void orders() throws Exception {
        try (Connection conn = connect()) {
            for (String text : List.of("SET query_wait_timeout = 76", "RELOAD", "PAUSE", "RESUME", "RECONNECT", "WAIT_CLOSE")) order(conn, text);
            String found = null;
            for (var row : ask(conn, "SHOW CONFIG")) if ("query_wait_timeout".equals(row.get("key"))) found = (String) row.get("value");
            equal(found, "76");
            order(conn, "SET query_wait_timeout = 120");
        }
    }

    static void whatPoolsAsk() throws Exception {
        try (Connection conn = connect("options", "-c extra_float_digits=2")) {
            equal(conn.isValid(5), true);
            equal(conn.getMetaData().getDatabaseProductName(), "PostgreSQL");
            equal(conn.getMetaData().getURL().startsWith("jdbc:postgresql:"), true);
            order(conn, "DISCARD ALL");
            conn.clearWarnings();
            equal(conn.isValid(5), true);
        }
    }

    public static void main(String[] args) {
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("tables", Console::tables);
        checks.put("prepared", Console::prepared);
        checks.put("transactions", Console::transactions);
        checks.put("errors", Console::errors);
        checks.put("several_statements_at_once", Console::severalStatementsAtOnce);
        checks.put("orders", Console::orders);
        checks.put("what_pools_ask", Console::whatPoolsAsk);
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

// The console by lib/pq, as PgBouncer's exporter asks it, and by pgx, which prepares all that it asks
// and wants binary results.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
	"github.com/lib/pq"
)

var url = os.Getenv("DATABASE_URL")

const unknownCommand = "08P01"

// What the exporter makes of a table's columns: labels, and numbers. It fails without one of them.
var tables = []struct {
	query           string
	labels, numbers []string
}{
	{
		"SHOW databases;",
		[]string{"name", "host", "port", "database", "force_user", "pool_mode"},
		[]string{"pool_size", "reserve_pool", "max_connections", "current_connections", "paused", "disabled"},
	},
	{
		"SHOW stats_totals;",
		[]string{"database"},
		[]string{
			"query_count", "query_time", "bytes_received", "bytes_sent", "wait_time", "xact_count",
			"xact_time", "client_parse_count", "server_parse_count", "bind_count",
		},
	},
	{
		"SHOW pools;",
		[]string{"database", "user"},
		[]string{
			"cl_active", "cl_active_cancel_req", "cl_waiting", "cl_waiting_cancel_req", "sv_active",
			"sv_active_cancel", "sv_being_canceled", "sv_idle", "sv_used", "sv_tested", "sv_login", "maxwait",
		},
	},
}

func main() {
	checks := map[string][]check{
		"lib-pq": {
			{"exporter", exporter},
			{"exporter_prepares", exporterPrepares},
			{"lib_pq_transactions", libpqTransactions},
			{"lib_pq_errors", libpqErrors},
			{"lib_pq_orders", libpqOrders},
		},
		"pgx": {
			{"pgx_prepares", pgxPrepares},
			{"pgx_simple_protocol", pgxSimpleProtocol},
			{"pgx_transactions_and_errors", pgxTransactionsAndErrors},
			{"pgx_batch", pgxBatch},
			{"pgx_pool", pgxPool},
		},
	}[os.Args[1]]
	failed := 0
	for _, it := range checks {
		fmt.Println("run ", it.name)
		if err := it.run(); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", it.name, err)
		} else {
			fmt.Println("ok  ", it.name)
		}
	}
	fmt.Printf("%d of %d checks\n", len(checks)-failed, len(checks))
	if failed > 0 || len(checks) == 0 {
		os.Exit(1)
	}
}

type check struct {
	name string
	run  func() error
}

// Opens the console, with further parameters.
func open(parameters string) (*sql.DB, error) {
	db, err := sql.Open("postgres", url+"?sslmode=disable"+parameters)
	if err == nil {
		db.SetMaxOpenConns(1)
		db.SetMaxIdleConns(1)
	}
	return db, err
}

// A result, as `database/sql` has it without being told what is wanted.
type table struct {
	columns []string
	rows    []map[string]interface{}
}

func read(rows *sql.Rows, err error) (table, error) {
	if err != nil {
		return table{}, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return table{}, err
	}
	read := table{columns: columns}
	for rows.Next() {
		values, places := make([]interface{}, len(columns)), make([]interface{}, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			return table{}, err
		}
		row := map[string]interface{}{}
		for i, column := range columns {
			row[column] = values[i]
		}
		read.rows = append(read.rows, row)
	}
	return read, rows.Err()
}

func text(value interface{}) string {
	if bytes, ok := value.([]byte); ok {
		return string(bytes)
	}
	return fmt.Sprint(value)
}

func isNumber(value interface{}) bool {
	switch value := value.(type) {
	case int64, float64:
		return true
	case []byte:
		_, err := strconv.ParseFloat(string(value), 64)
		return err == nil
	}
	return false
}

// All that the exporter asks in one round, and what it does not bear.
func scrape(ask func(query string) (table, error)) error {
	answered, err := ask("SHOW VERSION;")
	if err != nil || !reflect.DeepEqual(answered.columns, []string{"version"}) || len(answered.rows) != 1 {
		return fmt.Errorf("VERSION: %v %v", answered, err)
	}
	answered, err = ask("SHOW LISTS;")
	if err != nil || len(answered.columns) != 2 {
		return fmt.Errorf("LISTS: %v %v", answered.columns, err)
	}
	for _, row := range answered.rows {
		if _, err := strconv.ParseFloat(text(row["items"]), 64); err != nil {
			return fmt.Errorf("LISTS: %v: %v", row, err)
		}
	}
	answered, err = ask("SHOW CONFIG;")
	if err != nil || !reflect.DeepEqual(answered.columns, []string{"key", "value", "default", "changeable"}) {
		return fmt.Errorf("CONFIG: %v %v", answered.columns, err)
	}
	limits := 0
	for _, row := range answered.rows {
		key, _ := row["key"].(string)
		if _, is := row["changeable"].(string); !is || key == "" {
			return fmt.Errorf("CONFIG: %v", row)
		}
		if key == "max_client_conn" || key == "max_user_connections" {
			limits++
			if _, err := strconv.ParseFloat(text(row["value"]), 64); err != nil {
				return fmt.Errorf("CONFIG: %v: %v", row, err)
			}
		}
	}
	if limits != 2 {
		return errors.New("CONFIG: a limit is missing")
	}
	for _, wanted := range tables {
		answered, err := ask(wanted.query)
		if err != nil || len(answered.rows) == 0 {
			return fmt.Errorf("%s: %v, %d rows", wanted.query, err, len(answered.rows))
		}
		for _, row := range answered.rows {
			for _, label := range wanted.labels {
				value, there := row[label]
				switch value.(type) {
				case string, int64, nil:
				default:
					there = false
				}
				if !there {
					return fmt.Errorf("%s: %s is no label: %T", wanted.query, label, value)
				}
			}
			for _, number := range wanted.numbers {
				if !isNumber(row[number]) {
					return fmt.Errorf("%s: %s is no number: %v", wanted.query, number, row[number])
				}
			}
		}
	}
	return nil
}

// It connects for each round, and asks by simple queries.
func exporter() error {
	for round := 0; round < 20; round++ {
		db, err := open("")
		if err != nil {
			return err
		}
		err = func() error {
			defer db.Close()
			if _, err := read(db.Query("SHOW STATS")); err != nil {
				return err
			}
			return scrape(func(query string) (table, error) { return read(db.Query(query)) })
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

func exporterPrepares() error {
	for _, parameters := range []string{"", "&binary_parameters=yes"} {
		db, err := open(parameters + "&application_name=exporter&extra_float_digits=3")
		if err != nil {
			return err
		}
		defer db.Close()
		prepared := func(query string) (table, error) {
			statement, err := db.Prepare(query)
			if err != nil {
				return table{}, err
			}
			defer statement.Close()
			return read(statement.Query())
		}
		for round := 0; round < 3; round++ {
			if err := scrape(prepared); err != nil {
				return fmt.Errorf("%q: %w", parameters, err)
			}
		}
	}
	return nil
}

func libpqTransactions() error {
	db, err := open("")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		transaction, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true})
		if err != nil {
			return err
		}
		if _, err := read(transaction.Query("SHOW POOLS")); err != nil {
			return err
		}
		if err := end(transaction); err != nil {
			return err
		}
	}
	return db.Ping()
}

func libpqErrors() error {
	db, err := open("")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, ask := range []func() error{
		func() error { _, err := db.Query("SHOW NOTHING"); return err },
		func() error { _, err := db.Prepare("SHOW NOTHING"); return err },
	} {
		var told *pq.Error
		if err := ask(); !errors.As(err, &told) || told.Code != unknownCommand {
			return fmt.Errorf("want %s: %v", unknownCommand, err)
		}
		if err := db.Ping(); err != nil {
			return err
		}
	}
	if _, err := db.Query("SHOW POOLS", 1); err == nil {
		return errors.New("there are no parameters")
	}
	return db.Ping()
}

func libpqOrders() error {
	db, err := open("")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, order := range []string{
		"SET query_wait_timeout = 77", "RELOAD", "PAUSE", "RESUME", "RECONNECT", "WAIT_CLOSE",
	} {
		if _, err := db.Exec(order); err != nil {
			return fmt.Errorf("%s: %w", order, err)
		}
	}
	answered, err := read(db.Query("SHOW CONFIG"))
	for _, row := range answered.rows {
		if text(row["key"]) == "query_wait_timeout" && text(row["value"]) == "77" {
			_, err = db.Exec("SET query_wait_timeout TO '120'")
			return err
		}
	}
	return fmt.Errorf("it was not set: %v", err)
}

// A connection of pgx that lasts as long as `use`.
func connected(options func(*pgx.ConnConfig), use func(context.Context, *pgx.Conn) error) error {
	ctx := context.Background()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return err
	}
	options(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return use(ctx, conn)
}

func asItIs(*pgx.ConnConfig) {}

// The first row of SHOW POOLS, which has texts, numbers and a NULL.
func pools(ctx context.Context, conn interface {
	Query(context.Context, string, ...interface{}) (pgx.Rows, error)
}) error {
	rows, err := conn.Query(ctx, "SHOW POOLS")
	if err != nil {
		return err
	}
	defer rows.Close()
	count := 0
	for ; rows.Next(); count++ {
		values, err := rows.Values()
		if err != nil {
			return err
		}
		_, isText := values[0].(string)
		_, isNumber := values[2].(int32)
		if !isText || !isNumber || values[16] != nil {
			return fmt.Errorf("%#v", values)
		}
	}
	if rows.Err() == nil && count == 0 {
		return errors.New("no rows")
	}
	return rows.Err()
}

func totals(ctx context.Context, conn *pgx.Conn) error {
	var database string
	var servers, transactions, requests pgtype.Numeric
	query := "SHOW STATS_TOTALS"
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		rest := make([]interface{}, 9)
		if err := rows.Scan(append([]interface{}{&database, &servers, &transactions, &requests}, rest...)...); err != nil {
			return err
		}
		var count int64
		if err := requests.AssignTo(&count); err != nil || count < 0 {
			return fmt.Errorf("%v %v", count, err)
		}
	}
	return rows.Err()
}

func pgxPrepares() error {
	return connected(asItIs, func(ctx context.Context, conn *pgx.Conn) error {
		for round := 0; round < 10; round++ {
			if err := pools(ctx, conn); err != nil {
				return err
			}
			if err := totals(ctx, conn); err != nil {
				return err
			}
		}
		statement, err := conn.Prepare(ctx, "lists", "SHOW LISTS")
		if err != nil || len(statement.Fields) != 2 {
			return fmt.Errorf("%v %v", statement, err)
		}
		var list string
		var items int32
		if err := conn.QueryRow(ctx, "lists").Scan(&list, &items); err != nil || list != "databases" {
			return fmt.Errorf("%s %d %v", list, items, err)
		}
		return conn.Deallocate(ctx, "lists")
	})
}

func pgxSimpleProtocol() error {
	simple := func(config *pgx.ConnConfig) { config.PreferSimpleProtocol = true }
	return connected(simple, func(ctx context.Context, conn *pgx.Conn) error {
		if err := pools(ctx, conn); err != nil {
			return err
		}
		results, err := conn.PgConn().Exec(ctx, "SHOW VERSION; /* ; */ SHOW STATE; -- all").ReadAll()
		if err != nil || len(results) != 2 || len(results[1].Rows) != 3 {
			return fmt.Errorf("%d results, %v", len(results), err)
		}
		return conn.Ping(ctx)
	})
}

func pgxTransactionsAndErrors() error {
	return connected(asItIs, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.BeginFunc(ctx, func(transaction pgx.Tx) error {
			var told *pgconn.PgError
			_, err := transaction.Exec(ctx, "SHOW NOTHING")
			if !errors.As(err, &told) || told.Code != unknownCommand {
				return fmt.Errorf("want %s: %v", unknownCommand, err)
			}
			// A savepoint to pgx.
			return transaction.BeginFunc(ctx, func(inner pgx.Tx) error { return pools(ctx, inner) })
		})
	})
}

func pgxBatch() error {
	return connected(asItIs, func(ctx context.Context, conn *pgx.Conn) error {
		batch := &pgx.Batch{}
		for n := 0; n < 5; n++ {
			batch.Queue("SHOW VERSION")
		}
		results := conn.SendBatch(ctx, batch)
		for n := 0; n < 5; n++ {
			var version string
			if err := results.QueryRow().Scan(&version); err != nil || version == "" {
				return fmt.Errorf("%d: %q %v", n, version, err)
			}
		}
		return results.Close()
	})
}

func pgxPool() error {
	ctx := context.Background()
	pool, err := pgxpool.Connect(ctx, url+"?pool_max_conns=3")
	if err != nil {
		return err
	}
	defer pool.Close()
	failures := make(chan error)
	for n := 0; n < 6; n++ {
		go func() {
			for round := 0; round < 20; round++ {
				if err := pools(ctx, pool); err != nil {
					failures <- err
					return
				}
			}
			failures <- pool.Ping(ctx)
		}()
	}
	for n := 0; n < 6; n++ {
		if failed := <-failures; failed != nil {
			err = failed
		}
	}
	return err
}

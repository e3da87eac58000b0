<?php
// PDO: every statement is prepared under a name of its own and closed by SQL DEALLOCATE.

const CLIENTS = 8;
const ROUNDS = 60;
const DISTINCT = 350; // more statements than a server keeps prepared
define('SCHEMA', getenv('DRIVER_SCHEMA'));
define('TABLE', SCHEMA . '.rows');

function connect(array $attributes = [], string $options = ''): PDO
{
    $url = parse_url(getenv('DATABASE_URL'));
    $dsn = sprintf('pgsql:host=%s;port=%d;dbname=%s', $url['host'], $url['port'], ltrim($url['path'], '/'));
    $dsn .= ";connect_timeout=10$options";
    return new PDO($dsn, urldecode($url['user']), urldecode($url['pass']), $attributes);
}

function rows(PDO $db, string $query, array $params = []): array
{
    $statement = $db->prepare($query);
    $statement->execute($params);
    return $statement->fetchAll(PDO::FETCH_NUM);
}

function value(PDO $db, string $query, array $params = []): mixed
{
    return rows($db, $query, $params)[0][0];
}

function equal(mixed $got, mixed $want): void
{
    if ($got !== $want) {
        throw new Exception('got ' . substr(json_encode($got), 0, 200) . ', want ' . substr(json_encode($want), 0, 200));
    }
}

function raises(string $sqlstate, callable $fn): void
{
    try {
        $fn();
    } catch (PDOException $error) {
        equal((string) $error->getCode(), $sqlstate);
        return;
    }
    throw new Exception("no error, want SQLSTATE $sqlstate");
}

/** Runs $fn(0) to $fn(count - 1) at once, each in a process of its own. */
function at_once(int $count, callable $fn): void
{
    $children = [];
    for ($number = 0; $number < $count; $number++) {
        $child = pcntl_fork();
        if ($child === 0) {
            try {
                $fn($number);
                exit(0);
            } catch (Throwable $error) {
                echo "client $number: $error\n";
                exit(1);
            }
        }
        $children[] = $child;
    }
    $failed = 0;
    foreach ($children as $child) {
        pcntl_waitpid($child, $status);
        $failed += $status === 0 ? 0 : 1;
    }
    equal("$failed clients failed", '0 clients failed');
}

$checks = [];

$checks['tables'] = fn () => connect()->exec('CREATE TABLE ' . TABLE . ' (tag text, n int, note text)');

$checks['parameters'] = function () {
    foreach ([false, true] as $emulated) {
        $db = connect([PDO::ATTR_EMULATE_PREPARES => $emulated]);
        $query = 'SELECT ?::int, ?::text, ?::text, ?::numeric, ?::timestamptz AT TIME ZONE \'UTC\', ?::int[], ?::jsonb, ?::bytea';
        $values = [42, "naïve ☃ 'q'", null, '12345678901234567890.123456789', '2024-02-29 12:00:00.123456', '{1,NULL,3}', '{"a": [1, "x"]}'];
        $blob = implode('', array_map('chr', range(0, 255)));
        $statement = $db->prepare($query);
        for ($n = 0; $n < 8; $n++) {
            foreach ($values as $i => $value) {
                $statement->bindValue($i + 1, $value, is_null($value) ? PDO::PARAM_NULL : PDO::PARAM_STR);
            }
            $statement->bindValue(8, $blob, PDO::PARAM_LOB);
            $statement->execute();
            $row = $statement->fetch(PDO::FETCH_NUM);
            $row[7] = stream_get_contents($row[7]) === $blob;
            equal($row, [...$values, true]);
        }
    }
};

$checks['clients_see_their_own_rows'] = function () {
    at_once(CLIENTS, function ($number) {
        $db = connect();
        $kept = $db->prepare('SELECT ?::text, ?::int');
        $tag = "c$number";
        for ($n = 0; $n < ROUNDS; $n++) {
            $kept->execute([$tag, $n]);
            equal($kept->fetchAll(PDO::FETCH_NUM), [[$tag, $n]]);
            equal(rows($db, "SELECT ?::text || '$n', ?::int", [$tag, $n]), [["$tag$n", $n]]);
            $db->beginTransaction();
            rows($db, 'INSERT INTO ' . TABLE . ' VALUES (?, ?)', [$tag, $n]);
            equal(value($db, 'SELECT count(*) FROM ' . TABLE . ' WHERE tag = ?', [$tag]), $n + 1);
            $db->commit();
            if ($n % 5 === 0) {
                raises('22012', fn () => value($db, 'SELECT 1 / ?::int', [0]));
            }
        }
    });
    equal(value(connect(), 'SELECT count(*) FROM ' . TABLE), CLIENTS * ROUNDS);
};

$checks['many_distinct_statements'] = fn () => at_once(3, function ($number) {
    $db = connect();
    $kept = [];
    for ($n = 0; $n < DISTINCT; $n++) {
        $kept[$n] = $db->prepare("SELECT ?::text, $n");
        $kept[$n]->execute(["c$number"]);
        equal($kept[$n]->fetchAll(PDO::FETCH_NUM), [["c$number", $n]]);
    }
    for ($n = 0; $n < DISTINCT; $n += 3) {
        $kept[$n]->execute(['again']);
        equal($kept[$n]->fetchAll(PDO::FETCH_NUM), [['again', $n]]);
        $kept[$n] = null;
    }
    $kept[1]->execute(['last']);
    equal($kept[1]->fetchAll(PDO::FETCH_NUM), [['last', 1]]);
});

$checks['statements_destroyed_in_any_order'] = function () {
    $db = connect();
    for ($n = 0; $n < 100; $n++) {
        $first = $db->prepare('SELECT ?::int');
        $second = $db->prepare('SELECT ?::int + 1');
        $first->execute([$n]);
        $second->execute([$n]);
        equal($second->fetchColumn(), $n + 1);
        $first = null;
        $second->execute([$n + 5]);
        equal($second->fetchColumn(), $n + 6);
        $db->beginTransaction();
        $third = $db->prepare('SELECT 1 / ?::int');
        raises('22012', fn () => $third->execute([0]));
        $third = $second = null; // DEALLOCATE in a failed transaction
        $db->rollBack();
    }
};

$checks['transactions_and_savepoints'] = function () {
    $db = connect();
    $insert = $db->prepare('INSERT INTO ' . TABLE . " VALUES ('tx', ?)");
    for ($n = 0; $n < 8; $n++) {
        $db->beginTransaction();
        $insert->execute([1]);
        $db->rollBack();
        $db->beginTransaction();
        $insert->execute([2]);
        $db->exec('SAVEPOINT a');
        $insert->execute([3]);
        raises('22012', fn () => $db->exec('SELECT 1 / 0'));
        raises('25P02', fn () => $insert->execute([4]));
        $db->exec('ROLLBACK TO SAVEPOINT a');
        $db->commit();
    }
    equal(rows($db, 'SELECT n, count(*) FROM ' . TABLE . " WHERE tag = 'tx' GROUP BY n"), [[2, 8]]);
};

$checks['errors_leave_the_connection_usable'] = function () {
    $db = connect();
    for ($n = 0; $n < 10; $n++) {
        raises('42601', fn () => $db->exec('SELEC 1'));
        raises('42P01', fn () => value($db, 'SELECT ?::int FROM ' . SCHEMA . '.absent', [$n]));
        raises('22P02', fn () => value($db, 'SELECT ?::text::int', ['x']));
        raises('26000', fn () => $db->exec('EXECUTE no_such_name'));
        raises('26000', fn () => $db->exec('DEALLOCATE no_such_name'));
        equal(value($db, 'SELECT ?::int', [$n]), $n);
    }
    $later = 'SELECT n FROM ' . SCHEMA . '.later';
    raises('42P01', fn () => value($db, $later));
    $db->exec('CREATE TABLE ' . SCHEMA . '.later AS SELECT 5 AS n');
    equal(value($db, $later), 5);
};

$checks['scrollable_cursor'] = fn () => at_once(4, function ($number) {
    $db = connect();
    $db->beginTransaction();
    $query = 'SELECT ?::int + g FROM generate_series(1, 300) g';
    $cursor = $db->prepare($query, [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $cursor->execute([$number]);
    for ($n = 1; $n <= 300; $n++) {
        equal($cursor->fetchColumn(), $number + $n);
    }
    equal($cursor->fetch(PDO::FETCH_NUM, PDO::FETCH_ORI_ABS, 10), [$number + 10]);
    $cursor = null;
    $db->commit();
});

$checks['copy'] = fn () => at_once(4, function ($number) {
    $db = connect();
    $lines = array_map(fn ($n) => "copy$number\t$n\t\\N\n", range(0, 2999));
    equal($db->pgsqlCopyFromArray(TABLE, $lines), true);
    $view = SCHEMA . ".copied$number";
    $db->exec("CREATE TABLE $view AS SELECT * FROM " . TABLE . " WHERE tag = 'copy$number' ORDER BY n");
    equal($db->pgsqlCopyToArray($view), $lines);
    raises('22P02', fn () => $db->pgsqlCopyFromArray(TABLE, ["x\tnot a number\t\\N\n"]));
    equal(value($db, 'SELECT ?::int', [$number]), $number);
});

$checks['large_object'] = function () {
    $db = connect();
    $db->beginTransaction();
    $oid = $db->pgsqlLOBCreate();
    $stream = $db->pgsqlLOBOpen($oid, 'w');
    fwrite($stream, str_repeat('0123456789', 30000));
    $stream = null;
    $db->commit();
    $db->beginTransaction();
    $stream = $db->pgsqlLOBOpen($oid, 'r');
    equal(stream_get_contents($stream) === str_repeat('0123456789', 30000), true);
    $stream = null;
    $db->pgsqlLOBUnlink($oid);
    $db->commit();
};

$checks['large_values_and_results'] = function () {
    $db = connect();
    $text = str_repeat('abcdefgh', 1 << 17);
    equal(value($db, 'SELECT ?::text', [$text]) === $text, true);
    $rows = rows($db, "SELECT g, 'row ' || g FROM generate_series(1, ?::int) g", [100000]);
    equal([count($rows), end($rows)], [100000, [100000, 'row 100000']]);
};

$checks['several_statements_at_once'] = function () {
    $db = connect();
    $insert = 'INSERT INTO ' . TABLE . " VALUES ('multi', 1)";
    for ($n = 0; $n < 10; $n++) {
        $db->exec("SELECT $n; SELECT 'b'");
        raises('22012', fn () => $db->exec("$insert; SELECT 1 / 0; SELECT 3"));
        $db->exec("BEGIN; $insert; ROLLBACK");
        $db->exec("DO $$ BEGIN RAISE NOTICE 'note $n'; END $$");
    }
    equal(value($db, 'SELECT count(*) FROM ' . TABLE . " WHERE tag = 'multi'"), 0);
};

$checks['statement_timeout'] = function () {
    $db = connect();
    for ($n = 0; $n < 3; $n++) {
        $db->beginTransaction();
        $db->exec("SET LOCAL statement_timeout = '50ms'");
        raises('57014', fn () => value($db, 'SELECT pg_sleep(30)'));
        $db->rollBack();
        equal(value($db, 'SELECT ?::int', [$n]), $n);
    }
};

$checks['startup_parameters'] = fn () => at_once(4, function ($number) {
    $memory = (2000 + $number) . 'kB';
    $options = "-c search_path=" . SCHEMA . " -c statement_timeout=77s -c work_mem=$memory -c TimeZone=Asia/Tokyo";
    $db = connect([], ";application_name='app $number';options='$options'");
    for ($n = 0; $n < 10; $n++) {
        $db->beginTransaction();
        equal(value($db, 'SHOW search_path'), SCHEMA);
        equal(value($db, 'SHOW statement_timeout'), '77s');
        equal(value($db, 'SHOW work_mem'), $memory);
        equal(value($db, 'SHOW TimeZone'), 'Asia/Tokyo');
        equal(value($db, 'SHOW application_name'), "app $number");
        equal(value($db, 'SELECT count(*) >= 0 FROM rows'), true);
        $db->commit();
    }
});

$checks['closed_in_transaction'] = function () {
    for ($n = 0; $n < 40; $n++) {
        $db = connect();
        $db->beginTransaction();
        rows($db, 'INSERT INTO ' . TABLE . " VALUES ('closed', ?)", [$n]);
        $db = null;
    }
    equal(value(connect(), 'SELECT count(*) FROM ' . TABLE . " WHERE tag = 'closed'"), 0);
};

$checks['reconnect'] = function () {
    for ($n = 0; $n < 100; $n++) {
        equal(value(connect(), 'SELECT ?::int', [$n]), $n);
    }
};

$failed = 0;
foreach ($checks as $name => $check) {
    echo "run  $name\n";
    try {
        $check();
        echo "ok   $name\n";
    } catch (Throwable $error) {
        $failed++;
        echo "$error\nFAIL $name: ", strtr($error->getMessage(), "\n", ' '), "\n";
    }
}
echo count($checks) - $failed, ' of ', count($checks), " checks\n";
exit($failed ? 1 : 0);

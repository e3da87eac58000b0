// postgres.js: named statements by default, types fetched at connect, deep pipelines.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import postgres from 'postgres'
import { asleep, atOnce, check, clients, distinct, equal, main, raises, rounds, schema, url } from './checks.mjs'

const open = (options = {}) => postgres(url, { connect_timeout: 10, onnotice: () => {}, ...options })
const sql = open({ max: clients })
const rows = sql(`${schema}.rows`)
const plain = result => result.map(row => ({ ...row }))

check('tables', () => sql`CREATE TABLE ${rows} (tag text, n int, note text)`)

check('parameters', async () => {
  const noon = new Date('2024-02-29T12:00:00.123Z')
  const blob = Buffer.from(Array.from({ length: 256 }, (_, n) => n))
  const number = '12345678901234567890.123456789'
  for (let n = 0; n < 8; n++) {
    const [row] = await sql`SELECT ${42}::int AS a, ${"naïve ☃ 'q'"}::text AS b, ${null}::text AS c,
      ${blob}::bytea AS d, ${number}::numeric AS e, ${noon}::timestamptz AS f,
      ${[1, 2, 3]}::int[] AS g, ${sql.json({ a: [1, 'x'] })}::jsonb AS h`
    equal({ ...row }, { a: 42, b: "naïve ☃ 'q'", c: null, d: blob, e: number, f: noon, g: [1, 2, 3], h: { a: [1, 'x'] } })
  }
})

check('clients_see_their_own_rows', async () => {
  await atOnce(clients, async number => {
    const tag = `c${number}`
    for (let n = 0; n < rounds; n++) {
      equal(plain(await sql`SELECT ${tag}::text AS tag, ${n}::int AS n`), [{ tag, n }])
      await sql.begin(async sql => {
        await sql`INSERT INTO ${rows} ${sql([{ tag, n }])}`
        equal(plain(await sql`SELECT count(*)::int AS n FROM ${rows} WHERE tag = ${tag}`), [{ n: n + 1 }])
      })
      if (n % 5 === 0) await raises('22012', sql`SELECT 1 / ${0}::int`)
    }
  })
  equal(plain(await sql`SELECT count(*)::int AS n FROM ${rows}`), [{ n: clients * rounds }])
})

check('many_distinct_statements', () => atOnce(3, async number => {
  const sql = open({ max: 1 })
  for (let n = 0; n < distinct * 2; n++) {
    const text = `SELECT $1::text AS tag, ${n % distinct} AS n`
    const got = await sql.unsafe(text, [`c${number}`], { prepare: true })
    equal(plain(got), [{ tag: `c${number}`, n: n % distinct }])
  }
  await sql.end()
}))

check('pipelined_queries_on_one_connection', () => atOnce(4, async number => {
  const sql = open({ max: 1 })
  const answers = Array.from({ length: 300 }, (_, n) => n % 10 === 7
    ? raises('22012', sql`SELECT 1 / ${0}::int`)
    : sql`SELECT ${`q${number}`}::text AS tag, ${n}::int AS n`)
  const got = await Promise.all(answers)
  got.forEach((row, n) => n % 10 === 7 || equal(plain(row), [{ tag: `q${number}`, n }]))
  await sql.end()
}))

check('pipelined_transaction', async () => {
  for (let n = 0; n < 10; n++) {
    const got = await sql.begin(sql => [
      sql`INSERT INTO ${rows} VALUES ('pipe', ${n})`,
      sql`SELECT count(*)::int AS n FROM ${rows} WHERE tag = 'pipe'`,
    ])
    equal(plain(got[1]), [{ n: n + 1 }])
  }
})

check('transactions_and_savepoints', async () => {
  for (let n = 0; n < 8; n++) {
    await raises('22012', sql.begin(async sql => {
      await sql`INSERT INTO ${rows} VALUES ('tx', 1)`
      await sql`SELECT 1 / ${0}::int`
    }))
    await sql.begin('ISOLATION LEVEL SERIALIZABLE', async sql => {
      await sql`INSERT INTO ${rows} VALUES ('tx', 2)`
      await raises('22012', sql.savepoint(async sql => {
        await sql`INSERT INTO ${rows} VALUES ('tx', 3)`
        await sql`SELECT 1 / 0`
      }))
    })
  }
  const got = await sql`SELECT n, count(*)::int AS times FROM ${rows} WHERE tag = 'tx' GROUP BY n`
  equal(plain(got), [{ n: 2, times: 8 }])
})

check('errors_leave_the_connection_usable', async () => {
  const sql = open({ max: 1 })
  for (let n = 0; n < 10; n++) {
    await raises('42601', sql`SELEC ${n}`)
    await raises('42P01', sql`SELECT ${n}::int FROM ${sql(`${schema}.absent`)}`)
    await raises('22P02', sql`SELECT ${'x'}::text::int`)
    await raises('26000', sql`EXECUTE no_such_name`.simple())
    equal(plain(await sql`SELECT ${n}::int AS n`), [{ n }])
  }
  const later = () => sql`SELECT n FROM ${sql(`${schema}.later`)}`
  await raises('42P01', later())
  await sql`CREATE TABLE ${sql(`${schema}.later`)} AS SELECT 5 AS n`
  equal(plain(await later()), [{ n: 5 }])
  await sql.end()
})

check('describe', async () => {
  const { types, columns } = await sql`SELECT ${1}::int AS n, ${'x'}::text AS t`.describe()
  equal([types, columns.map(column => column.name)], [[23, 25], ['n', 't']])
})

check('cursor', () => atOnce(4, async number => {
  let sum = 0
  await sql.begin(async sql => {
    const query = sql`SELECT ${number}::int + g AS n FROM generate_series(1, 1000) g`
    for await (const part of query.cursor(90)) part.forEach(row => (sum += row.n))
    for await (const [row] of sql`SELECT g AS n FROM generate_series(1, 1000) g`.cursor()) {
      if (row.n === 3) break
    }
  })
  equal(sum, 500500 + number * 1000)
}))

// The driver leaves its socket paused when more than a stream's buffer comes out at once,
// so little is copied out here.
check('copy', () => atOnce(4, async number => {
  const lines = Array.from({ length: 5000 }, (_, n) => `copy${number}\t${n}\t\\N\n`)
  await pipeline(Readable.from(lines), await sql`COPY ${rows} FROM STDIN`.writable())
  const parts = []
  const query = `COPY (SELECT * FROM ${schema}.rows WHERE tag = 'copy${number}' ORDER BY n LIMIT 500) TO STDOUT`
  for await (const part of await sql.unsafe(query).readable()) parts.push(part)
  equal(Buffer.concat(parts).toString(), lines.slice(0, 500).join(''))
  equal(plain(await sql`SELECT count(*)::int AS n FROM ${rows} WHERE tag = ${`copy${number}`}`), [{ n: 5000 }])
}))

// Reserved connections, two at once, as a temporary table keeps each on its server.
check('session_state_outlives_transactions', () => atOnce(2, async number => {
  const own = open({ max: 1 })
  const sql = await own.reserve()
  await sql.unsafe(`SET work_mem = '${2000 + number}kB'; CREATE TEMPORARY TABLE mine (n int)`)
  for (let n = 0; n < 20; n++) {
    await sql`INSERT INTO mine VALUES (${n})`
    await sql`BEGIN`
    await sql`SET work_mem = '99kB'`
    await sql`ROLLBACK`
    equal(plain(await sql`SHOW work_mem`), [{ work_mem: `${2000 + number}kB` }])
    equal(plain(await sql`SELECT count(*)::int AS n FROM mine`), [{ n: n + 1 }])
  }
  await sql`DISCARD ALL`.simple()
  equal(plain(await sql`SELECT to_regclass('mine') IS NULL AS gone`), [{ gone: true }])
  await sql.release()
  await own.end()
}))

check('large_values_and_results', async () => {
  const blob = Buffer.alloc(1 << 20, 'abc')
  const [row] = await sql`SELECT ${blob}::bytea AS blob`
  equal(row.blob.equals(blob), true)
  const got = await sql`SELECT g, 'row ' || g AS t FROM generate_series(1, ${100000}::int) g`
  equal([got.length, { ...got.at(-1) }], [100000, { g: 100000, t: 'row 100000' }])
})

check('several_statements_at_once', async () => {
  for (let n = 0; n < 10; n++) {
    const results = await sql.unsafe(`SELECT ${n} AS n; SELECT 'b' AS n`)
    equal(results.map(plain), [[{ n }], [{ n: 'b' }]])
    const insert = `INSERT INTO ${schema}.rows VALUES ('multi', 1)`
    await raises('22012', sql.unsafe(`${insert}; SELECT 1 / 0; SELECT 3`))
  }
  equal(plain(await sql`SELECT count(*)::int AS n FROM ${rows} WHERE tag = 'multi'`), [{ n: 0 }])
})

check('notices', async () => {
  const seen = []
  const sql = open({ max: 1, onnotice: notice => seen.push(notice.message) })
  for (let n = 0; n < 10; n++) await sql.unsafe(`DO $$ BEGIN RAISE NOTICE 'note ${n}'; END $$`)
  equal(seen, Array.from({ length: 10 }, (_, n) => `note ${n}`))
  await sql.end()
})

check('cancel', async () => {
  const sleeper = open({ max: 1 })
  for (let n = 0; n < 3; n++) {
    const tag = `${schema}_${n}`
    const query = sleeper.unsafe(`SELECT pg_sleep(30) /* ${tag} */`)
    const failing = raises('57014', query)
    await asleep(async text => (await sql.unsafe(text))[0].n, tag)
    query.cancel()
    await failing
    equal(plain(await sleeper`SELECT ${n}::int AS n`), [{ n }])
  }
  await sleeper.end()
})

check('startup_parameters', () => atOnce(4, async number => {
  const settings = {
    application_name: `app ${number}`, statement_timeout: '77s', search_path: schema,
    TimeZone: 'Asia/Tokyo', extra_float_digits: '2', work_mem: `${2000 + number}kB`,
  }
  const own = open({ max: 2, connection: settings })
  for (let n = 0; n < 10; n++) {
    await own.begin(async sql => {
      for (const [key, want] of Object.entries(settings)) {
        equal(Object.values((await sql.unsafe(`SHOW ${key}`))[0]), [want])
      }
      await sql`SELECT count(*) FROM rows`
    })
  }
  await own.end()
}))

check('closed_in_transaction', async () => {
  for (let n = 0; n < 20; n++) {
    const own = open({ max: 1 })
    const insert = own.begin(async sql => {
      await sql`INSERT INTO ${rows} VALUES ('closed', ${n})`
      await own.end({ timeout: 0 })
      await sql`SELECT 1`
    })
    await insert.then(() => Promise.reject(new Error('committed')), error => equal(/^CONNECTION_/.test(error.code), true))
  }
  equal(plain(await sql`SELECT count(*)::int AS n FROM ${rows} WHERE tag = 'closed'`), [{ n: 0 }])
})

check('reconnect', async () => {
  for (let n = 0; n < 100; n++) {
    const own = open({ max: 1 })
    equal(plain(await own`SELECT ${n}::int AS n`), [{ n }])
    await own.end()
  }
})

await main()

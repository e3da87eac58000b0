// node-postgres: unnamed statements, or named ones on request; queries queue per client.
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import Cursor from 'pg-cursor'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import { asleep, atOnce, check, clients, distinct, equal, main, raises, rounds, schema, url } from './checks.mjs'

const table = `${schema}.rows`

async function connected(fn, options = {}) {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10000, ...options })
  await client.connect()
  try {
    return await fn(client)
  } finally {
    await client.end()
  }
}

const rows = async (client, text, values) =>
  (await client.query({ text, values, rowMode: 'array' })).rows
const value = async (client, text, values) => (await rows(client, text, values))[0][0]

check('tables', () =>
  connected(client => client.query(`CREATE TABLE ${table} (tag text, n int, note text)`)))

check('parameters', () => connected(async client => {
  const noon = new Date('2024-02-29T12:00:00.123Z')
  const blob = Buffer.from(Array.from({ length: 256 }, (_, n) => n))
  const text = 'SELECT $1::int, $2::text, $3::text, $4::bytea, $5::numeric, $6::timestamptz, $7::int[], $8::jsonb'
  const values = [42, "naïve ☃ 'q'", null, blob, '12345678901234567890.123456789', noon, [1, null, 3], { a: [1, 'x'] }]
  for (let n = 0; n < 8; n++) {
    equal(await rows(client, text, values), [values])
    equal((await client.query({ name: 'all', text, values, rowMode: 'array' })).rows, [values])
  }
}))

check('clients_see_their_own_rows', async () => {
  await atOnce(clients, number => connected(async client => {
    const tag = `c${number}`
    for (let n = 0; n < rounds; n++) {
      equal(await rows(client, 'SELECT $1::text, $2::int', [tag, n]), [[tag, n]])
      const named = { name: 'own', text: 'SELECT $1::text AS tag, $2::int AS n', values: [tag, n] }
      equal((await client.query(named)).rows, [{ tag, n }])
      await client.query('BEGIN')
      await client.query(`INSERT INTO ${table} VALUES ($1, $2)`, [tag, n])
      equal(await value(client, `SELECT count(*)::int FROM ${table} WHERE tag = $1`, [tag]), n + 1)
      await client.query('COMMIT')
      if (n % 5 === 0) await raises('22012', client.query('SELECT 1 / $1::int', [0]))
    }
  }))
  await connected(async client =>
    equal(await value(client, `SELECT count(*)::int FROM ${table}`), clients * rounds))
})

// The same names stand for other texts on other clients.
check('many_distinct_named_statements', () => atOnce(3, number => connected(async client => {
  for (let n = 0; n < distinct * 2; n++) {
    const text = `SELECT $1::text AS tag, ${n % distinct} AS n, ${number} AS number`
    const { rows } = await client.query({ name: `s${n % distinct}`, text, values: [`c${number}`] })
    equal(rows, [{ tag: `c${number}`, n: n % distinct, number }])
  }
})))

check('transactions_and_savepoints', () => connected(async client => {
  const insert = n => client.query(`INSERT INTO ${table} VALUES ('tx', $1)`, [n])
  for (let n = 0; n < 8; n++) {
    await client.query('BEGIN')
    await insert(1)
    await client.query('ROLLBACK')
    await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE')
    await insert(2)
    await client.query('SAVEPOINT a')
    await insert(3)
    await raises('22012', client.query('SELECT 1 / $1::int', [0]))
    await raises('25P02', client.query('SELECT $1::int', [1]))
    await client.query('ROLLBACK TO SAVEPOINT a')
    await client.query('COMMIT')
  }
  equal(await rows(client, `SELECT n, count(*)::int FROM ${table} WHERE tag = 'tx' GROUP BY n`), [[2, 8]])
}))

check('errors_leave_the_connection_usable', () => connected(async client => {
  for (let n = 0; n < 10; n++) {
    await raises('42601', client.query('SELEC 1'))
    await raises('42601', client.query('SELEC $1', [n]))
    await raises('42P01', client.query({ name: `absent${n}`, text: `SELECT * FROM ${schema}.absent` }))
    await raises('22P02', client.query({ name: 'cast', text: 'SELECT $1::text::int', values: ['x'] }))
    await raises('26000', client.query('EXECUTE no_such_name'))
    equal(await value(client, 'SELECT $1::int', [n]), n)
  }
  const later = { name: 'later', text: `SELECT n FROM ${schema}.later` }
  await raises('42P01', client.query(later))
  await client.query(`CREATE TABLE ${schema}.later AS SELECT 5 AS n`)
  equal((await client.query(later)).rows, [{ n: 5 }])
}))

check('queued_queries', () => atOnce(clients, number => connected(async client => {
  const answers = Array.from({ length: 300 }, (_, n) => n % 10 === 7
    ? raises('22012', client.query('SELECT 1 / $1::int', [0]))
    : rows(client, 'SELECT $1::text, $2::int', [`q${number}`, n]))
  const got = await Promise.all(answers)
  got.forEach((row, n) => n % 10 === 7 || equal(row, [[`q${number}`, n]]))
})))

check('pool', async () => {
  const pool = new pg.Pool({ connectionString: url, max: 6 })
  await atOnce(400, async n =>
    equal((await pool.query('SELECT $1::int AS n', [n])).rows, [{ n }]))
  await pool.end()
})

check('pool_sets_state_at_connect', async () => {
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  let number = 0
  pool.on('connect', client => {
    client.tag = `${2000 + number++}kB`
    client.query(`SET work_mem = '${client.tag}'; SET search_path = ${schema}`)
  })
  await atOnce(100, async n => {
    const client = await pool.connect()
    equal(await rows(client, "SELECT current_setting('work_mem'), $1::int", [n]), [[client.tag, n]])
    equal(await value(client, 'SHOW search_path'), schema)
    client.release()
  })
  await pool.end()
})

check('cursor_in_transaction', () => atOnce(4, number => connected(async client => {
  for (let round = 0; round < 3; round++) {
    await client.query('BEGIN')
    const text = 'SELECT $1::int + g AS n FROM generate_series(1, 1000) g'
    const cursor = client.query(new Cursor(text, [number], { rowMode: 'array' }))
    let sum = 0
    for (let part = await cursor.read(90); part.length; part = await cursor.read(90)) {
      part.forEach(([n]) => (sum += n))
    }
    equal(sum, 500500 + number * 1000)
    await cursor.close()
    const early = client.query(new Cursor(text, [number], { rowMode: 'array' }))
    equal(await early.read(2), [[number + 1], [number + 2]])
    await early.close()
    await client.query('COMMIT')
  }
})))

check('copy', () => atOnce(4, number => connected(async client => {
  const lines = Array.from({ length: 5000 }, (_, n) => `copy${number}\t${n}\t\\N\n`)
  await pipeline(Readable.from(lines), client.query(copyFrom(`COPY ${table} FROM STDIN`)))
  const query = `SELECT * FROM ${table} WHERE tag = 'copy${number}' ORDER BY n`
  const text = async form => {
    const parts = []
    const stream = client.query(copyTo(`COPY (${query}) TO STDOUT (FORMAT ${form})`))
    for await (const part of stream) parts.push(part)
    return Buffer.concat(parts)
  }
  equal((await text('text')).toString(), lines.join(''))
  const binary = await text('binary')
  await client.query(`DELETE FROM ${table} WHERE tag = $1`, [`copy${number}`])
  await pipeline(Readable.from([binary]), client.query(copyFrom(`COPY ${table} FROM STDIN BINARY`)))
  equal(await text('binary'), binary)
  const broken = Readable.from(Array(500).fill('x\tnot a number\t\\N\n'))
  await raises('22P02', pipeline(broken, client.query(copyFrom(`COPY ${table} FROM STDIN`))))
  equal(await value(client, 'SELECT $1::int', [number]), number)
})))

check('large_values_and_results', () => connected(async client => {
  const blob = Buffer.alloc(1 << 20, 'abc')
  equal((await value(client, 'SELECT $1::bytea', [blob])).equals(blob), true)
  const got = await rows(client, "SELECT g, 'row ' || g FROM generate_series(1, $1::int) g", [100000])
  equal([got.length, got.at(-1)], [100000, [100000, 'row 100000']])
}))

check('several_statements_at_once', () => connected(async client => {
  const insert = `INSERT INTO ${table} VALUES ('multi', 1)`
  for (let n = 0; n < 10; n++) {
    const results = await client.query(`SELECT ${n} AS n; SELECT 'b' AS n; SELECT 1 AS n WHERE false`)
    equal(results.map(result => result.rows), [[{ n }], [{ n: 'b' }], []])
    await raises('22012', client.query(`${insert}; SELECT 1 / 0; SELECT 3`))
    await client.query(`BEGIN; ${insert}; ROLLBACK`)
  }
  equal(await value(client, `SELECT count(*)::int FROM ${table} WHERE tag = 'multi'`), 0)
}))

check('notices', () => connected(async client => {
  const seen = []
  client.on('notice', notice => seen.push(notice.message))
  for (let n = 0; n < 10; n++) await client.query(`DO $$ BEGIN RAISE NOTICE 'note ${n}'; END $$`)
  equal(seen, Array.from({ length: 10 }, (_, n) => `note ${n}`))
}))

// A worker that is told of its jobs, and takes them in transactions of its own.
check('queue_worker_that_listens', () => connected(worker => connected(async sender => {
  const jobs = `${schema}_jobs`
  await worker.query(`CREATE TABLE ${schema}.job (id int PRIMARY KEY, done boolean NOT NULL DEFAULT false)`)
  const heard = []
  let wake = () => {}
  worker.on('notification', ({ channel, payload, processId }) => {
    heard.push([channel, payload, processId === worker.processID, processId === sender.processID])
    wake()
  })
  await worker.query(`LISTEN ${jobs}`)
  await worker.query('SELECT pg_notify($1, $2)', [jobs, 'probe'])
  equal(heard, [[jobs, 'probe', true, false]])
  const sending = (async () => {
    for (let n = 0; n < 300; n++) {
      await sender.query('BEGIN')
      await sender.query(`INSERT INTO ${schema}.job VALUES ($1)`, [n])
      await sender.query('SELECT pg_notify($1, $2)', [jobs, String(n)])
      await sender.query('COMMIT')
    }
  })()
  const take = `UPDATE ${schema}.job SET done = true WHERE id IN
    (SELECT id FROM ${schema}.job WHERE NOT done ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 3)`
  for (let done = 0; done < 300;) {
    const told = new Promise(resolve => (wake = resolve))
    await worker.query('BEGIN')
    const { rowCount } = await worker.query(take)
    await worker.query('COMMIT')
    done += rowCount
    if (rowCount === 0 && heard.length < 301) await told
  }
  await sending
  await worker.query('SELECT 1')
  equal(heard.slice(1), Array.from({ length: 300 }, (_, n) => [jobs, String(n), false, true]))
  await worker.query(`UNLISTEN ${jobs}`)
  await sender.query(`NOTIFY ${jobs}, 'nobody'`)
  await worker.query('SELECT 1')
  equal(heard.length, 301)
})))

check('cancel', () => connected(client => connected(async other => {
  for (let n = 0; n < 3; n++) {
    const tag = `${schema}_${n}`
    const query = new pg.Query(`SELECT pg_sleep(30) /* ${tag} */`)
    const done = new Promise((resolve, reject) => query.once('end', resolve).once('error', reject))
    const failing = raises('57014', done)
    client.query(query)
    await asleep(text => value(other, text), tag)
    new pg.Client({ connectionString: url }).cancel(client, query)
    await failing
    equal(await value(client, 'SELECT $1::int', [n]), n)
  }
})))

check('startup_parameters', () => atOnce(4, async number => {
  const settings = { work_mem: `${2000 + number}kB`, TimeZone: 'Asia/Tokyo', search_path: schema, extra_float_digits: '2' }
  const options = Object.entries(settings).map(([key, want]) => `-c ${key}=${want}`).join(' ')
  const own = { application_name: `app ${number}`, statement_timeout: 77000, lock_timeout: 66000 }
  await connected(async client => {
    for (let n = 0; n < 10; n++) {
      await client.query('BEGIN')
      for (const [key, want] of Object.entries(settings)) equal(await value(client, `SHOW ${key}`), want)
      equal(await value(client, 'SHOW application_name'), `app ${number}`)
      equal(await value(client, 'SHOW statement_timeout'), '77s')
      equal(await value(client, 'SHOW lock_timeout'), '66s')
      await client.query('SELECT count(*) FROM rows')
      await client.query('COMMIT')
    }
  }, { options, ...own })
}))

check('closed_in_transaction', async () => {
  for (let n = 0; n < 40; n++) {
    await connected(async client => {
      await client.query('BEGIN')
      await client.query(`INSERT INTO ${table} VALUES ('closed', $1)`, [n])
    })
  }
  await connected(async client =>
    equal(await value(client, `SELECT count(*)::int FROM ${table} WHERE tag = 'closed'`), 0))
})

check('reconnect', async () => {
  for (let n = 0; n < 100; n++) {
    await connected(async client => equal(await value(client, 'SELECT $1::int', [n]), n))
  }
})

await main()

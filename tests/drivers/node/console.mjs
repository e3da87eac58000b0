// The console by node-postgres: simple queries, and prepared ones by name.
import pg from 'pg'
import { atOnce, check, equal, main, raises, url } from './checks.mjs'

const unknownCommand = '08P01'

async function connected(fn, options = {}) {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10000, ...options })
  await client.connect()
  try {
    return await fn(client)
  } finally {
    await client.end()
  }
}

check('tables', () => connected(async client => {
  for (const ask of [text => client.query(text), text => client.query({ name: text, text, values: [] })]) {
    for (let n = 0; n < 3; n++) {
      const version = await ask('SHOW VERSION;')
      equal([version.fields.map(field => field.name), version.rows.length], [['version'], 1])
      const [pool] = (await ask('SHOW POOLS')).rows
      equal([typeof pool.database, typeof pool.cl_active, pool.load_balance_hosts], ['string', 'number', null])
      for (const row of (await ask('SHOW STATS_TOTALS')).rows) equal(/^\d+$/.test(row.query_count), true)
      equal((await ask('SHOW LISTS')).rows[0].list, 'databases')
    }
  }
}))

check('transactions_and_errors', () => connected(async client => {
  await client.query('BEGIN')
  await raises(unknownCommand, client.query('SHOW NOTHING'))
  await client.query('SHOW POOLS')
  await client.query('COMMIT')
  await raises(unknownCommand, client.query({ name: 'nothing', text: 'SHOW NOTHING' }))
  await raises(unknownCommand, client.query('SHOW POOLS', [1]))
  await client.query('SHOW POOLS')
}))

check('several_statements_at_once', () => connected(async client => {
  const results = await client.query('BEGIN; SHOW VERSION; /* ; */ SHOW STATE; COMMIT')
  equal(results.map(result => result.rows.length), [0, 1, 3, 0])
}))

check('orders', () => connected(async client => {
  for (const order of ['SET query_wait_timeout = 79', 'RELOAD', 'PAUSE', 'RESUME', 'RECONNECT', 'WAIT_CLOSE']) {
    await client.query(order)
  }
  const { rows } = await client.query('SHOW CONFIG')
  equal(rows.find(row => row.key === 'query_wait_timeout').value, '79')
  await client.query('SET query_wait_timeout = 120')
}))

check('startup_parameters', () =>
  connected(client => client.query('SHOW VERSION'), {
    application_name: 'watcher', statement_timeout: 5000, options: '-c extra_float_digits=2',
  }))

check('pool', async () => {
  const pool = new pg.Pool({ connectionString: url, max: 3 })
  await atOnce(6, async () => {
    for (let n = 0; n < 20; n++) equal((await pool.query('SHOW VERSION')).rows.length, 1)
  })
  await pool.end()
})

await main()

// Runs named checks one by one; one that fails does not end the others.
import assert from 'node:assert/strict'

export const url = process.env.DATABASE_URL
export const schema = process.env.DRIVER_SCHEMA
export const clients = 8
export const rounds = 60
export const distinct = 350 // more statements than a server keeps prepared

const checks = []
export const check = (name, fn) => checks.push([name, fn])
export const equal = assert.deepStrictEqual
export const atOnce = (count, fn) => Promise.all(Array.from({ length: count }, (_, n) => fn(n)))

export async function raises(sqlstate, promise) {
  const error = await promise.then(() => null, error => error)
  equal(error?.code, sqlstate, `${error?.code ?? 'no error'}, want ${sqlstate}`)
}

// Resolves once the server runs the statement that has this tag.
export async function asleep(count, tag) {
  const query = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE state = 'active'
    AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%${tag}%'`
  const deadline = Date.now() + 20000
  while ((await count(query)) !== 1) {
    if (Date.now() > deadline) throw new Error('the sleeping statement did not start')
  }
}

export async function main() {
  let failed = 0
  for (const [name, fn] of checks) {
    const began = Date.now()
    console.log(`run  ${name}`)
    try {
      await fn()
      console.log(`ok   ${name} (${(Date.now() - began) / 1000} s)`)
    } catch (error) {
      failed += 1
      console.log(error)
      console.log(`FAIL ${name}: ${String(error?.message).slice(0, 250).replaceAll('\n', ' ')}`)
    }
  }
  console.log(`${checks.length - failed} of ${checks.length} checks`)
  process.exit(failed ? 1 : 0)
}

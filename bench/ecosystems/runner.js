'use strict'
// Runs one scenario with a pool of Node.js: POOL SCENARIO PORT. It prints one line of JSON.
const net = require('net')
const { EventEmitter } = require('events')

const [name, scenario, port] = process.argv.slice(2)
const tcp = scenario === 'outage'
const attempts = []
let takes = 0 // ms to open a connection

const now = () => performance.timeOrigin + performance.now()
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
const turn = () => new Promise(resolve => setImmediate(resolve))

// A Conn is in memory, or to a server that sends back each byte.
class Conn {
  dead = false
  died = () => {}

  static async open () {
    attempts.push(now())
    if (takes) await sleep(takes)
    const c = new Conn()
    if (!tcp) return c
    await new Promise((resolve, reject) => {
      c.socket = net.connect({ port: Number(port), host: '127.0.0.1', noDelay: true }, resolve)
      c.socket.once('error', reject)
    })
    c.socket.removeAllListeners('error')
    c.socket.on('error', () => {})
    c.socket.on('close', () => {
      c.dead = true
      c.died()
      if (c.waiting) c.waiting.reject(new Error('the connection is dead'))
    })
    c.socket.on('data', () => c.waiting && c.waiting.resolve())
    return c
  }

  async roundTrip () {
    if (this.dead) throw new Error('the connection is dead')
    if (!this.socket) return
    await new Promise((resolve, reject) => {
      this.waiting = { resolve, reject }
      this.socket.write('x')
    })
    this.waiting = undefined
  }

  close () {
    this.dead = true
    if (this.socket) this.socket.destroy()
  }
}

// make makes a pool with get, put, drop (for a connection that is dead) and end.
function make (size, limit) {
  const create = () => Conn.open()
  const destroy = async c => c.close()
  switch (name) {
    case 'generic-pool': {
      const p = require('generic-pool').createPool({ create, destroy, validate: async c => !c.dead },
        { max: size, acquireTimeoutMillis: limit, testOnBorrow: tcp })
      return { get: () => p.acquire(), put: c => p.release(c), drop: c => p.destroy(c), end: () => p.drain().then(() => p.clear()) }
    }
    case 'tarn': {
      const { Pool } = require('tarn')
      const p = new Pool({ create, destroy, validate: c => !c.dead, min: 0, max: size, acquireTimeoutMillis: limit })
      return { get: () => p.acquire().promise, put: c => p.release(c), drop: c => { c.close(); p.release(c) }, end: () => p.destroy() }
    }
    case 'pg-pool': {
      class Client extends EventEmitter { // what the pool uses of one
        _queryable = true
        connect (done) {
          Conn.open().then(c => {
            this.conn = c
            c.died = () => { if (!this._ending) this.emit('error', new Error('the connection is dead')) }
            done()
          }, done)
        }

        end (done) {
          this._ending = true
          this.conn?.close()
          this.emit('end')
          if (done) done()
        }

        ref () {}
        unref () {}
        get dead () { return this.conn.dead }
        roundTrip () { return this.conn.roundTrip() }
      }
      const Pool = require('pg-pool')
      const p = new Pool({ Client, max: size, connectionTimeoutMillis: limit })
      p.on('error', () => {})
      return {
        get: async () => {
          const c = await p.connect()
          if (!c.listenerCount('error')) c.on('error', () => {}) // its documentation asks for it
          return c
        },
        put: c => c.release(),
        drop: c => c.release(true),
        end: () => p.end()
      }
    }
  }
  throw new Error(`there is no pool ${name}`)
}

async function fill (pool, n) {
  const all = []
  for (let i = 0; i < n; i++) all.push(await pool.get())
  for (const c of all) await pool.put(c)
}

async function cycle (callers, size, yields) {
  const pool = make(size, 3600e3)
  await fill(pool, size)
  let ns
  for (let round = 0; round < 2; round++) { // the first warms up
    let turns = 0
    const began = performance.now()
    await Promise.all(Array.from({ length: callers }, async () => {
      while (performance.now() - began < 1500) {
        const c = await pool.get()
        if (yields) await turn()
        await pool.put(c)
        turns++
        if (!yields && turns % 1000 === 0) await turn()
      }
    }))
    ns = (performance.now() - began) * 1e6 / turns
  }
  return { ns }
}

async function spike (hold) {
  const pool = make(50, 3600e3)
  await fill(pool, 5)
  takes = 150
  const before = attempts.length
  const began = performance.now()
  await Promise.all(Array.from({ length: 50 }, async () => {
    const c = await pool.get()
    await sleep(hold)
    await pool.put(c)
  }))
  return { opened: attempts.length - before, ms: performance.now() - began }
}

async function outage () {
  const pool = make(10, 1000)
  const served = []
  const failed = []
  const until = now() + 16e3
  console.log('running')
  await Promise.all(Array.from({ length: 20 }, async () => {
    while (now() < until) {
      let c
      try {
        c = await pool.get()
      } catch {
        failed.push(now())
        await sleep(1)
        continue
      }
      try {
        await c.roundTrip()
      } catch {
        await pool.drop(c)
        await sleep(1)
        continue
      }
      await sleep(1)
      await pool.put(c)
      served.push(now())
    }
  }))
  return { attempts, failed, served }
}

async function order () {
  const pool = make(1, 3600e3)
  let held = await pool.get()
  const served = []
  const all = Array.from({ length: 16 }, async (_, i) => {
    const c = await pool.get()
    served.push(i)
    await pool.put(c)
  })
  await sleep(20)
  await pool.put(held)
  await Promise.all(all)
  const overtaken = served.filter((i, at) => served.slice(0, at).some(j => j > i)).length
  let most = 0
  for (let n = 0; n < 20; n++) {
    held = await pool.get()
    let ended = false
    const waiter = pool.get().then(async c => {
      ended = true
      await pool.put(c)
    })
    await sleep(5)
    let again = 0
    while (again < 1000) {
      const put = pool.put(held) // it may be a promise
      const got = pool.get()
      await put
      held = await got
      if (ended) break
      again++
    }
    await pool.put(held)
    await waiter
    most = Math.max(most, again)
  }
  return { overtaken, again: most }
}

async function cancel () {
  const pool = make(2, 300)
  const held = [await pool.get(), await pool.get()]
  let error = ''
  let lent = 0
  const until = now() + 1500
  await Promise.all(Array.from({ length: 64 }, async () => {
    do {
      try {
        await pool.get()
        lent++
      } catch (e) {
        error = `${e.name}: ${e.message}`
      }
    } while (now() < until)
  }))
  for (const c of held) await pool.put(c)
  let lost = 0
  for (let i = 0; i < 2; i++) await pool.get().catch(() => lost++)
  return { lost, lent, text: error }
}

async function close () {
  const pool = make(1, 8000)
  const held = await pool.get()
  let how
  const waiter = pool.get().then(() => { how = 'served' }, () => { how = 'told' })
  await sleep(50)
  pool.end().catch(() => {})
  await Promise.race([waiter, sleep(2000)])
  if (how) return { text: `${how} at once` }
  await pool.put(held)
  await Promise.race([waiter, sleep(2000)])
  if (how) return { text: `${how} when the holder has put` }
  await waiter
  return { text: `${how} when its limit is over` }
}

async function second () {
  const pool = make(1, 1000)
  const first = await pool.get()
  await pool.put(first)
  await pool.get()
  let refused = false
  try {
    await pool.put(first)
  } catch {
    refused = true
  }
  return pool.get().then(() => ({ text: 'two callers have the connection' }),
    () => ({ text: refused ? 'refused' : 'ignored' }))
}

setInterval(() => {}, 1000) // pg-pool's timers keep no process alive, and nothing else does here

const scenarios = {
  uncontended: () => cycle(1, 16, false),
  overload: () => cycle(64, 2, true),
  spike2: () => spike(2),
  spike20: () => spike(20),
  outage,
  order,
  cancel,
  close,
  second
}
scenarios[scenario]().then(result => {
  process.stdout.write(JSON.stringify(result) + '\n', () => process.exit(0))
}, e => {
  console.error(e)
  process.exit(1)
})

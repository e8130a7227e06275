// One instance of a Node peer, started by the bench with a childSpec (child.go) in
// its environment: it answers calls, one JSON a line, or plays a stampede.
import { createInterface } from 'node:readline'
import { openBentocache } from './bentocache.js'
import { openIoredis } from './ioredis.js'
import { runLoop } from './loop.js'

const spec = JSON.parse(process.env.JACKCACHE_BENCH_CHILD)
const open = { bentocache: openBentocache, ioredis: openIoredis }[spec.Node]
const say = (line) => process.stdout.write(line + '\n')
const lines = createInterface({ input: process.stdin })
lines.on('close', () => process.exit(0))

const client = open(spec.Config)
if (spec.Mode === 'stampede') {
  await client.get('+16045550000')
  say('ready')
  lines.once('line', stampede)
} else {
  lines.on('line', (line) => answer(JSON.parse(line)))
}

// answer carries out a call; undefined is what is absent.
async function answer(call) {
  const reply = { n: call.n }
  try {
    if (call.do === 'get') {
      reply.value = await client.get(call.id)
      reply.absent = reply.value === undefined
    } else if (call.do === 'set') {
      await client.set(call.id, call.value)
    } else if (call.do === 'append') {
      await client.append(call.id, call.value[0])
    } else if (call.do === 'appended') {
      reply.value = await client.appended(call.id)
    } else {
      reply.loop = await runLoop(client, call.loop, spec)
    }
  } catch (err) {
    reply.error = String(err?.message ?? err) || 'an error without a text'
  }
  say(JSON.stringify(reply))
}

async function stampede() {
  const value = [{ id: 'loaded', role: 'user', content: 'loaded', timestamp: 1 }]
  const load = async () => {
    say('loading')
    await new Promise((resolve) => setTimeout(resolve, spec.LoadMillis))
    return value
  }
  let failed = 0
  const ask = async () => {
    try {
      const got = await client.load(spec.ID, load)
      if (got?.length !== value.length) failed++
    } catch {
      failed++
    }
  }
  await Promise.all(Array.from({ length: spec.Callers }, ask))
  say(`done ${failed}`)
}

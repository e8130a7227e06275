// The loops of loop.go.

const ids = (n) => Array.from({ length: n }, (_, i) => '+160455' + String(i).padStart(5, '0'))

// zipf draws numbers below n with the exponent 1.01.
function zipf(n) {
  const sums = []
  let sum = 0
  for (let i = 1; i <= n; i++) sums.push((sum += Math.pow(i, -1.01)))
  return Array.from({ length: 1 << 17 }, () => {
    const want = Math.random() * sum
    let low = 0
    let high = n - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (sums[middle] < want) low = middle + 1
      else high = middle
    }
    return low
  })
}

let drawn

// runLoop makes calls for a time and tells how many, and how long they took.
export async function runLoop(client, loop, spec) {
  const all = ids(spec.Talks)
  let next = 0
  let ops = 0
  const any = (n) => Math.floor(Math.random() * n)
  const value = loop.what === 'mix' ? await client.get(all[0]) : undefined
  if (loop.what === 'mix') drawn ??= zipf(spec.Talks)
  const steps = {
    near: () => client.get(all[any(spec.HotTalks)]),
    far: () => (next < all.length ? client.get(all[next++]) : undefined),
    mix: () => {
      const id = all[drawn[any(drawn.length)]]
      return any(spec.MixWrites) === 0 ? client.set(id, value) : client.get(id)
    },
  }
  const step = steps[loop.what]
  const start = process.hrtime.bigint()
  const end = performance.now() + loop.millis
  const caller = async () => {
    while (performance.now() < end) {
      const call = step()
      if (call === undefined) return
      const got = await call
      if (got === undefined) throw new Error('an empty value')
      ops++
    }
  }
  await Promise.all(Array.from({ length: loop.callers }, caller))
  return { ops, nanos: Number(process.hrtime.bigint() - start), allocs: -1 }
}

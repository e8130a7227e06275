import { BentoCache, bentostore } from 'bentocache'
import { memoryDriver } from 'bentocache/drivers/memory'
import { redisBusDriver, redisDriver } from 'bentocache/drivers/redis'
import { connect } from './ioredis.js'

// openBentocache has memory before Redis, and its bus, as its documentation shows.
export function openBentocache(config) {
  const connection = connect(config)
  const [host, port] = config.Addr.split(':')
  const cache = new BentoCache({
    default: 'bench',
    ttl: '1h',
    stores: {
      bench: bentostore()
        .useL1Layer(memoryDriver({ maxItems: Math.max(1, config.Near) }))
        .useL2Layer(redisDriver({ connection }))
        .useBus(redisBusDriver({ connection: { host, port: Number(port) } })),
    },
  })
  return {
    get: (key) => cache.get({ key }),
    set: (key, value) => cache.set({ key, value }),
    load: (key, factory) => cache.getOrSet({ key, factory }),
  }
}

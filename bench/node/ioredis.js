import { Redis } from 'ioredis'

const SECONDS = 3600

// connect opens a connection to host:port, with deadlines where hurried.
export function connect(config) {
  const [host, port] = config.Addr.split(':')
  const hurry = { connectTimeout: 250, commandTimeout: 250, maxRetriesPerRequest: 0, enableOfflineQueue: false }
  const redis = new Redis({ host, port: Number(port), enableAutoPipelining: true, ...(config.Hurried ? hurry : {}) })
  redis.on('error', () => {}) // calls get their own
  return redis
}

// openIoredis keeps JSON, and lists of it for appends.
export function openIoredis(config) {
  const redis = connect(config)
  const get = async (id) => {
    const text = await redis.get(id)
    return text === null ? undefined : JSON.parse(text)
  }
  const set = (id, value) => redis.set(id, JSON.stringify(value), 'EX', SECONDS)
  const load = async (id, loader) => {
    const had = await get(id)
    if (had !== undefined) return had
    const value = await loader()
    await set(id, value)
    return value
  }
  const append = (id, message) => redis.rpush('list:' + id, JSON.stringify(message))
  const appended = async (id) => (await redis.lrange('list:' + id, 0, -1)).map((text) => JSON.parse(text))
  return { get, set, load, append, appended }
}

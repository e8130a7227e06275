package cli

import (
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/httpapi"
)

// setting is one row of the table that feeds flags, environment, .env, help and
// the documentation.
type setting struct {
	env    string // the variable; its name in this package, too
	value  kind
	def    string // as a user would write it; empty: none
	help   string
	secret bool // never printed, and no flag: command lines are public
}

// flag is the name of the setting's flag; empty: it has none.
func (s setting) flag() string {
	if s.secret {
		return ""
	}
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.env, "JACKCACHE_")), "_", "-")
}

// group is a part of the table under one heading.
type group struct {
	title string
	rows  []setting
}

const (
	production = "production"
	embedded   = "embedded"
	redis      = "redis"
	standalone = "standalone"
	sentinel   = "sentinel"
	cluster    = "cluster"
)

const (
	shortest = time.Millisecond
	gib      = 1 << 30
)

// table is the only list of settings.
var table = []group{
	{"Server", []setting{
		{env: "JACKCACHE_ADDR", value: hostPort{}, def: "127.0.0.1:8080",
			help: "Where the server listens, and where commands look for it. Elsewhere than on this host it wants JACKCACHE_API_TOKEN or --insecure."},
		{env: "JACKCACHE_API_TOKEN", value: text{}, secret: true,
			help: "What callers must send as a bearer token."},
		{env: "JACKCACHE_MAX_BODY", value: size{1 << 10, gib}, def: bytesText(httpapi.DefaultMaxBody),
			help: "The largest body of a request. Imports may be of any length."},
		{env: "JACKCACHE_METRICS_OPEN", value: onOff{}, def: "off",
			help: "Serves /metrics without JACKCACHE_API_TOKEN, for a Prometheus that has no token. Metrics name no organisation and no person."},
		{env: "JACKCACHE_STRICT_READY", value: onOff{}, def: "off",
			help: "Makes /readyz answer 503 while the cache is degraded."},
		{env: "JACKCACHE_DRAIN_DELAY", value: span{0, time.Hour}, def: "0s",
			help: "How long /readyz answers 503 after SIGTERM before connections are closed. Set it to what your load balancer needs to notice."},
		{env: "JACKCACHE_SHUTDOWN_TIMEOUT", value: span{0, time.Hour}, def: "10s",
			help: "How long requests under way may take when the server stops."},
		{env: "JACKCACHE_LOG_LEVEL", value: words{"debug", "info", "warn", "error"}, def: "info",
			help: "The least important lines that the server logs."},
		{env: "JACKCACHE_LOG_FORMAT", value: words{"auto", "text", "json"}, def: "auto",
			help: "auto is text on a terminal and JSON elsewhere."},
		{env: "NODE_ENV", value: text{}, def: "development",
			help: "production makes keys start with jack:prod:, anything else with jack:dev:."},
	}},
	{"Store", []setting{
		{env: "JACKCACHE_STORE", value: words{"auto", embedded, redis}, def: "auto",
			help: "auto is Redis where REDIS_HOST, REDIS_ADDRS or REDIS_URL is set, else the embedded store. In production the embedded store wants to be named."},
		{env: "JACKCACHE_DATA_DIR", value: text{}, def: jackcache.DefaultDataDir,
			help: "Directory of this instance: the journal, the embedded store, the clock, the id of its Redis."},
		{env: "JACKCACHE_ADOPT", value: onOff{}, def: "off",
			help: "on takes another Redis than the one that the data directory belongs to, and records it. Set it for one start."},
		{env: "USE_REDIS", value: onOff{}, def: "on",
			help: "off means the embedded store, whatever else is set for Redis."},
		{env: "JACKCACHE_BUDGET", value: span{2 * time.Millisecond, time.Minute}, def: spanText(jackcache.DefaultBudget),
			help: "The most that an operation on one key takes with Redis."},
		{env: "JACKCACHE_EMBEDDED_BUDGET", value: span{2 * time.Millisecond, time.Minute}, def: spanText(jackcache.DefaultEmbeddedBudget),
			help: "The same with the embedded store, whose writes wait for the disk."},
		{env: "JACKCACHE_SLOW_AVERAGE", value: span{0, time.Minute}, def: "0s",
			help: "The mean of get, set or append over a minute above which a warning is logged. 0s: half of the budget with Redis, 30ms with the embedded store."},
		{env: "JACKCACHE_EMBEDDED_BYTES", value: size{1 << 20, 1 << 50}, def: bytesText(jackcache.DefaultEmbeddedBytes),
			help: "The most that the embedded store keeps; then writes are refused."},
		{env: "JACKCACHE_JOURNAL", value: words{"required", "optional", "memory", "off"}, def: string(jackcache.JournalRequired),
			help: "Where writes are kept until Redis has them, and for the case that it loses them. required: in the data directory; a write that cannot be kept there is refused. optional: a write that Redis has is acknowledged even then. memory: in the process, for a host without a disk; what waits for Redis is lost with the process. off: nowhere; while Redis is away writes are refused, and what it loses is lost."},
		{env: "JACKCACHE_JOURNAL_BYTES", value: size{1 << 20, 1 << 40}, def: bytesText(jackcache.DefaultJournalBytes),
			help: "The most that the journal takes. Without it, " + bytesText(jackcache.DefaultMemoryJournal) + " in memory."},
		{env: "JACKCACHE_JOURNAL_WINDOW", value: span{time.Minute, jackcache.MaxTTL}, def: spanText(jackcache.DefaultJournalWindow),
			help: "For how long back the journal can give Redis again what it lost, as far as its bytes allow."},
		{env: "JACKCACHE_REPLAY_RATE", value: number{100, 1_000_000}, def: numberText(jackcache.DefaultReplayRate),
			help: "The most operations a second with which Redis is brought up to date. While Redis or the disk are slow there are fewer, so that live calls stay quick."},
		{env: "JACKCACHE_RECLAIM_RATE", value: numberOrOff{number{100, 1_000_000}}, def: numberText(jackcache.DefaultReclaimRate),
			help: "The most keys of Redis that are looked at in a second, in the background, to give back what invalidated organisations took. off or 0: it is kept until its life ends."},
		{env: "JACKCACHE_LOCAL_BYTES", value: size{1 << 16, 1 << 40}, def: bytesText(jackcache.DefaultLocalBytes),
			help: "The most that kinds which stay in the process keep."},
	}},
	{"Copies of what Redis has, in the process", []setting{
		{env: "JACKCACHE_NEAR_BYTES", value: sizeOrOff{size{1 << 16, 1 << 40}}, def: bytesText(jackcache.DefaultNearBytes),
			help: "The most that copies take, with keys and what keeping them costs. off or 0: there are none, and every read asks Redis."},
		{env: "JACKCACHE_NEAR_SHARE", value: part{}, def: partText(jackcache.DefaultNearShare),
			help: "The part of it that one organisation may have, so that one with much traffic does not push out the others."},
		{env: "JACKCACHE_FRESHNESS", value: span{500 * time.Millisecond, time.Minute}, def: spanText(jackcache.DefaultFreshness),
			help: "How old the proof may be by which a copy counts as current: later than that after a write no instance gives the older value."},
		{env: "JACKCACHE_NEAR_TTL", value: span{0, jackcache.MaxTTL}, def: spanText(jackcache.DefaultNearTTL),
			help: "How long a copy of a conversation may be given, as far as it is current. 0s: there are none of conversations. Without it, no longer than conversations live."},
	}},
	{"Redis", []setting{
		{env: "REDIS_MODE", value: words{standalone, sentinel, cluster}, def: standalone,
			help: "How the servers belong together: one, or one with replicas; a master that Sentinels watch over; a Cluster."},
		{env: "REDIS_HOST", value: hostName{}, help: "Host of the Redis or Valkey server, of a Sentinel, or of a member of the Cluster."},
		{env: "REDIS_PORT", value: number{1, 65535}, def: numberText(defaultPort),
			help: "Its port. The default of Sentinels is " + numberText(sentinelPort) + "."},
		{env: "REDIS_ADDRS", value: addrList{},
			help: "Instead of REDIS_HOST and REDIS_PORT, several: the Sentinels, some members of the Cluster, or a standalone server and its replicas, of which the master is found."},
		{env: "REDIS_URL", value: redisURL{}, secret: true,
			help: "Address, user, password and database in one: redis://user:password@host:port/db, with several hosts host:port,host:port. rediss:// means TLS."},
		{env: "REDIS_USERNAME", value: text{}, help: "User of the access list of the servers, where they have one; 'jackcache acl' prints what it has to be allowed."},
		{env: "REDIS_PASSWORD", value: text{}, secret: true, help: "Password of the user or the server."},
		{env: "REDIS_PASSWORD_FILE", value: file("a file of one line"),
			help: "A file with the password instead, read again for every new connection."},
		{env: "REDIS_DB", value: number{0, 1 << 20}, def: "0", help: "Number of the database. A Cluster has only 0."},
		{env: "REDIS_TLS", value: onOff{}, def: "off", help: "TLS to the servers. rediss:// in REDIS_URL switches it on, too."},
		{env: "REDIS_CA_FILE", value: file("a file with certificates in PEM"),
			help: "The authorities that sign the certificates of servers and Sentinels, instead of those that the host trusts. The three files are read again for every new connection."},
		{env: "REDIS_CERT_FILE", value: file("a file with a certificate in PEM, and those between it and its authority"),
			help: "The certificate of this client, where the servers want one; with REDIS_KEY_FILE."},
		{env: "REDIS_KEY_FILE", value: file("a file with the private key of the certificate in PEM, not encrypted"),
			help: "Its private key."},
		{env: "REDIS_TLS_SERVER_NAME", value: text{},
			help: "The name to look for in the certificates of servers and Sentinels. Without it, the host of the address that is dialled."},
		{env: "REDIS_SENTINEL_MASTER", value: text{}, help: "The name under which the Sentinels know the master. REDIS_MODE=sentinel wants it."},
		{env: "REDIS_SENTINEL_USERNAME", value: text{}, help: "User of the access list of the Sentinels. What is set for the servers is not sent to them."},
		{env: "REDIS_SENTINEL_PASSWORD", value: text{}, secret: true, help: "Password of the Sentinels, where they want one."},
		{env: "REDIS_SENTINEL_PASSWORD_FILE", value: file("a file of one line"),
			help: "A file with it instead, read again for every new connection."},
		{env: "REDIS_SENTINEL_TLS", value: onOff{}, help: "TLS to the Sentinels, with the same files and name. Without it, as for the servers."},
		{env: "JACKCACHE_REDIS_CONNECTIONS", value: number{1, 64}, def: "1",
			help: "How many connections carry the calls to each server, rounded up to a power of two. One is usually best: calls that wait for the same connection are sent together. With small values and two processors, one carried 222,000 GETs a second and two 106,000; more help where most values have more than about 20 kB."},
		{env: "JACKCACHE_REDIS_IN_FLIGHT", value: number{16, 3 << 10}, def: numberText(jackcache.DefaultInFlight),
			help: "How many commands may wait for each server at a time."},
	}},
	{"Conversations", []setting{
		{env: "JACKCACHE_WINDOW", value: number{1, jackcache.MaxWindow}, def: numberText(jackcache.DefaultWindow),
			help: "How many messages of a conversation are kept."},
		{env: "JACKCACHE_WINDOW_BYTES", value: size{1 << 10, 256 << 20}, def: bytesText(jackcache.DefaultWindowBytes),
			help: "How many bytes of them, as stored."},
		{env: "JACKCACHE_MESSAGE_BYTES", value: size{64, 16 << 20}, def: bytesText(jackcache.DefaultMessageBytes),
			help: "The largest message."},
		{env: "JACKCACHE_BATCH", value: number{1, jackcache.MaxBatch}, def: numberText(jackcache.DefaultBatch),
			help: "The most messages of one append."},
		{env: "JACKCACHE_MESSAGE_COMPRESS_ABOVE", value: size{1, gib}, def: bytesText(jackcache.DefaultCompressAbove),
			help: "From which size a message is stored compressed."},
		{env: "JACKCACHE_MAX_LIFE", value: span{0, jackcache.MaxTTL}, def: "0s",
			help: "The longest life of a conversation from its first message; 0s: no bound."},
		{env: "JACKCACHE_PHONE_REGION", value: region{}, def: "US",
			help: "Where numbers without a country code are read."},
		{env: "JACKCACHE_DIRECTORY", value: onOff{}, def: "off",
			help: "Opens the directory of phones without an organisation."},
		{env: "JACKCACHE_FORGET_FOR", value: span{time.Hour, 3650 * day}, def: spanText(jackcache.DefaultForgetFor),
			help: "How long it is remembered that a person was forgotten, so that no import brings the person back."},
	}},
	{"Lives, from the last write", []setting{
		{env: "JACKCACHE_TTL_CONVERSATION_CONTEXT", value: span{time.Second, jackcache.MaxTTL}, def: "2h", help: "Conversations."},
		{env: "JACKCACHE_TTL_CONVERSATION_SUMMARY", value: ttl, def: "2h", help: "Summaries."},
		{env: "JACKCACHE_TTL_PHONE_TO_LEAD", value: ttl, def: "2h", help: "Lead mappings, both ways."},
		{env: "JACKCACHE_TTL_LEAD_DATA", value: ttl, def: "5m", help: "Data of leads."},
		{env: "JACKCACHE_TTL_CONVERSATION_HISTORY", value: ttl, def: "2m", help: "Conversation histories."},
		{env: "JACKCACHE_TTL_ORGANIZATION_DATA", value: ttl, def: "2m", help: "Data of organisations."},
		{env: "JACKCACHE_TTL_AGENT_CONFIG", value: ttl, def: "1h", help: "Configurations of agents."},
		{env: "JACKCACHE_TTL_PRE_COMPUTED_CONTEXT", value: ttl, def: "2m", help: "Prepared contexts."},
		{env: "JACKCACHE_TTL_SSE_RESPONSE", value: ttl, def: "10s", help: "Responses of streams; they stay in the process."},
	}},
}

var ttl = span{shortest, jackcache.MaxTTL}

// all returns every row of the table.
func all(yield func(setting) bool) {
	for _, g := range table {
		for _, s := range g.rows {
			if !yield(s) {
				return
			}
		}
	}
}

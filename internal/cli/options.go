package cli

import (
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

const (
	defaultPort  = 6379
	sentinelPort = 26379
)

// named reports whether a Redis server is named.
func (s *settings) named() bool {
	return s.set("REDIS_HOST") || s.set("REDIS_ADDRS") || s.set("REDIS_URL")
}

// off reports whether Redis is switched off, whatever else is set for it.
func (s *settings) off() bool { return !value[bool](s, "USE_REDIS") }

// checkStore finds contradictions between the settings of the store.
func (s *settings) checkStore(p *problems) {
	const any = "REDIS_HOST, REDIS_ADDRS or REDIS_URL"
	store, mode := value[string](s, "JACKCACHE_STORE"), value[string](s, "REDIS_MODE")
	switch {
	case store == embedded && s.named() && !s.off():
		p.add("JACKCACHE_STORE is embedded, but %s is set: remove one, or set USE_REDIS=false", any)
	case store == redis && s.off():
		p.add("JACKCACHE_STORE is redis, but USE_REDIS is off: remove one")
	case s.off(), s.named():
	case store == redis:
		p.add("JACKCACHE_STORE is redis, but neither REDIS_HOST nor REDIS_ADDRS nor REDIS_URL is set")
	case store == "auto" && mode != standalone && mode != "": // empty: it was refused
		p.add("REDIS_MODE is %s, but no server is named: set %s, or remove it", mode, any)
	case store == "auto" && value[string](s, "NODE_ENV") == production:
		p.add("NODE_ENV is production and neither REDIS_HOST nor REDIS_ADDRS nor REDIS_URL is set: set one, or JACKCACHE_STORE=embedded if this instance is to keep its state alone")
	}
	if s.off() {
		return
	}
	if s.named() {
		s.checkRedis(p)
	} else if store == "auto" {
		s.warnUnused()
	}
}

// warnUnused tells of settings that say nothing without a server.
func (s *settings) warnUnused() {
	for row := range all {
		of, isRedis := strings.CutPrefix(row.env, "REDIS_")
		if isRedis && of != "MODE" && s.set(row.env) {
			s.warnings = append(s.warnings, row.env+" is set without REDIS_HOST, REDIS_ADDRS or REDIS_URL; the embedded store is used")
		}
	}
}

// checkRedis finds contradictions between the settings of Redis.
func (s *settings) checkRedis(p *problems) {
	s.checkAddrs(p)
	s.checkURL(p)
	s.checkMode(p)
	s.checkPasswords(p)
	s.checkTLS(p)
}

// differ reports two settings that do not say the same.
func (s *settings) differ(p *problems, one, other string, differ bool) {
	if s.set(other) && differ {
		p.add("%s and %s are both set and differ: remove one", one, other)
	}
}

func (s *settings) checkAddrs(p *problems) {
	addrs := value[[]string](s, "REDIS_ADDRS")
	if len(addrs) == 0 {
		return
	}
	host, port := value[string](s, "REDIS_HOST"), s.port()
	s.differ(p, "REDIS_ADDRS", "REDIS_HOST", len(addrs) > 1 || addrs[0] != net.JoinHostPort(host, port))
	if s.set("REDIS_HOST") {
		return
	}
	s.differ(p, "REDIS_ADDRS", "REDIS_PORT", slices.ContainsFunc(addrs, func(addr string) bool {
		_, its, _ := net.SplitHostPort(addr)
		return its != port
	}))
}

// checkURL finds settings that say something else than the URL.
func (s *settings) checkURL(p *problems) {
	u := value[redisServers](s, "REDIS_URL")
	if len(u.hosts) == 0 {
		return
	}
	differ := func(env string, differs bool) { s.differ(p, "REDIS_URL", env, differs) }
	port, first := s.port(), u.hosts[0]
	differ("REDIS_ADDRS", !slices.Equal(value[[]string](s, "REDIS_ADDRS"), s.urlAddrs()))
	differ("REDIS_HOST", len(u.hosts) > 1 || value[string](s, "REDIS_HOST") != first.host)
	differ("REDIS_PORT", slices.ContainsFunc(u.hosts, func(h redisHost) bool { return h.port != "" && h.port != port }))
	differ("REDIS_DB", u.db >= 0 && value[int](s, "REDIS_DB") != u.db)
	differ("REDIS_USERNAME", u.user != "" && value[string](s, "REDIS_USERNAME") != u.user)
	differ("REDIS_PASSWORD", u.password != "" && value[string](s, "REDIS_PASSWORD") != u.password)
	differ("REDIS_PASSWORD_FILE", u.password != "")
	switch {
	case u.tls && s.set("REDIS_TLS") && !value[bool](s, "REDIS_TLS"):
		p.add("REDIS_URL begins with rediss://, but REDIS_TLS is off: remove REDIS_TLS, or write redis://")
	case !u.tls && value[bool](s, "REDIS_TLS"):
		p.add("REDIS_URL begins with redis://, but REDIS_TLS is on: write rediss://, or remove REDIS_TLS")
	}
}

// checkMode finds settings that make no sense in the mode.
func (s *settings) checkMode(p *problems) {
	mode := value[string](s, "REDIS_MODE")
	if db := s.db(); mode == cluster && db != 0 {
		p.add("REDIS_MODE is cluster, but the database is %d (REDIS_DB or REDIS_URL): a Cluster has only 0", db)
	}
	if mode == sentinel {
		if !s.set("REDIS_SENTINEL_MASTER") {
			p.add("REDIS_MODE is sentinel, but REDIS_SENTINEL_MASTER is not set: it is the name under which the Sentinels know the master")
		}
		return
	}
	for row := range all {
		if strings.HasPrefix(row.env, "REDIS_SENTINEL_") && s.set(row.env) && s.values[row.env] != false {
			p.add("%s is set, but REDIS_MODE is %s: set REDIS_MODE=sentinel, or remove it", row.env, mode)
		}
	}
}

// port is that of servers that are named without one.
func (s *settings) port() string {
	if !s.set("REDIS_PORT") && value[string](s, "REDIS_MODE") == sentinel {
		return numberText(sentinelPort)
	}
	return numberText(value[int](s, "REDIS_PORT"))
}

func (s *settings) urlAddrs() []string {
	var addrs []string
	for _, h := range value[redisServers](s, "REDIS_URL").hosts {
		port := h.port
		if port == "" {
			port = s.port()
		}
		addrs = append(addrs, net.JoinHostPort(h.host, port))
	}
	return addrs
}

// addrs are the servers that are named.
func (s *settings) addrs() []string {
	if addrs := s.urlAddrs(); len(addrs) > 0 {
		return addrs
	}
	if addrs := value[[]string](s, "REDIS_ADDRS"); len(addrs) > 0 {
		return slices.Clone(addrs)
	}
	return []string{net.JoinHostPort(value[string](s, "REDIS_HOST"), s.port())}
}

func (s *settings) db() int {
	if u := value[redisServers](s, "REDIS_URL"); u.db > 0 {
		return u.db
	}
	return value[int](s, "REDIS_DB")
}

// usesRedis reports whether Redis is the store.
func (s *settings) usesRedis() bool {
	return s.named() && !s.off() && value[string](s, "JACKCACHE_STORE") != embedded
}

// redis says how Redis is reached; nil: the embedded store is used.
func (s *settings) redis(log logger) *jackcache.RedisOptions {
	if !s.usesRedis() {
		return nil
	}
	if log == nil {
		log = slog.Default()
	}
	o := &jackcache.RedisOptions{
		Mode: jackcache.RedisMode(value[string](s, "REDIS_MODE")), Addrs: s.addrs(), DB: s.db(),
		Connections: value[int](s, "JACKCACHE_REDIS_CONNECTIONS"), InFlight: value[int](s, "JACKCACHE_REDIS_IN_FLIGHT"),
	}
	o.Username, o.Password = s.user()
	o.Credentials = s.keys.credentials(s.keys.password, o.Username, log)
	if s.tls() {
		o.CurrentTLS = s.keys.config(log)
	}
	if o.Mode == jackcache.Sentinel {
		o.Sentinel = s.sentinel(log)
	}
	return o
}

func (s *settings) sentinel(log logger) jackcache.SentinelOptions {
	o := jackcache.SentinelOptions{
		Master:   value[string](s, "REDIS_SENTINEL_MASTER"),
		Username: value[string](s, "REDIS_SENTINEL_USERNAME"), Password: value[string](s, "REDIS_SENTINEL_PASSWORD"),
	}
	o.Credentials = s.keys.credentials(s.keys.sentinelPassword, o.Username, log)
	if s.sentinelTLS() {
		o.CurrentTLS = s.keys.config(log)
	}
	return o
}

// user is the user of the servers, with the password where it is in no file.
func (s *settings) user() (name, password string) {
	name, password = value[string](s, "REDIS_USERNAME"), value[string](s, "REDIS_PASSWORD")
	u := value[redisServers](s, "REDIS_URL")
	if u.user != "" {
		name = u.user
	}
	if u.password != "" {
		password = u.password
	}
	return name, password
}

// options are the settings in the form that the cache takes. Log gets lines about
// files that are read again; nil: the default logger.
func (s *settings) options(log logger) (jackcache.Options, assistant.TTLs) {
	duration := func(env string) time.Duration { return value[time.Duration](s, env) }
	bytes := func(env string) int64 { return value[int64](s, env) }
	return jackcache.Options{
			Production: value[string](s, "NODE_ENV") == production,
			DataDir:    value[string](s, "JACKCACHE_DATA_DIR"),
			Redis:      s.redis(log),
			Logger:     log,
			Adopt:      value[bool](s, "JACKCACHE_ADOPT"),
			Embedded: jackcache.EmbeddedOptions{
				MaxBytes: bytes("JACKCACHE_EMBEDDED_BYTES"), Budget: duration("JACKCACHE_EMBEDDED_BUDGET"),
				AfterRedis: value[string](s, "JACKCACHE_STORE") == embedded || s.set("USE_REDIS") && !value[bool](s, "USE_REDIS"),
			},
			Journal: s.journal(), ReclaimRate: value[int](s, "JACKCACHE_RECLAIM_RATE"),
			Near: jackcache.NearOptions{
				MaxBytes: bytes("JACKCACHE_NEAR_BYTES"), Share: value[float64](s, "JACKCACHE_NEAR_SHARE"), Freshness: duration("JACKCACHE_FRESHNESS"),
			},
			Conversation: jackcache.ConversationOptions{
				TTL: duration("JACKCACHE_TTL_CONVERSATION_CONTEXT"), MaxLife: duration("JACKCACHE_MAX_LIFE"),
				Window: value[int](s, "JACKCACHE_WINDOW"), WindowBytes: int(bytes("JACKCACHE_WINDOW_BYTES")),
				MessageBytes: int(bytes("JACKCACHE_MESSAGE_BYTES")), Batch: value[int](s, "JACKCACHE_BATCH"),
				CompressAbove: int(bytes("JACKCACHE_MESSAGE_COMPRESS_ABOVE")), NearTTL: s.nearTTL(),
			},
			Directory: value[bool](s, "JACKCACHE_DIRECTORY"), PhoneRegion: value[string](s, "JACKCACHE_PHONE_REGION"),
			Budget: duration("JACKCACHE_BUDGET"), SlowAverage: duration("JACKCACHE_SLOW_AVERAGE"), LocalBytes: bytes("JACKCACHE_LOCAL_BYTES"),
			ForgetFor: duration("JACKCACHE_FORGET_FOR"), Now: wallClock(),
		}, assistant.TTLs{
			Summary: duration("JACKCACHE_TTL_CONVERSATION_SUMMARY"), Lead: duration("JACKCACHE_TTL_PHONE_TO_LEAD"),
			LeadData: duration("JACKCACHE_TTL_LEAD_DATA"), History: duration("JACKCACHE_TTL_CONVERSATION_HISTORY"),
			Organization: duration("JACKCACHE_TTL_ORGANIZATION_DATA"), AgentConfig: duration("JACKCACHE_TTL_AGENT_CONFIG"),
			PreComputedContext: duration("JACKCACHE_TTL_PRE_COMPUTED_CONTEXT"), SSEResponse: duration("JACKCACHE_TTL_SSE_RESPONSE"),
		}
}

// journal is how writes are kept beside Redis.
func (s *settings) journal() jackcache.JournalOptions {
	j := jackcache.JournalOptions{
		Mode: jackcache.JournalMode(value[string](s, "JACKCACHE_JOURNAL")), Window: value[time.Duration](s, "JACKCACHE_JOURNAL_WINDOW"),
		ReplayRate: value[int](s, "JACKCACHE_REPLAY_RATE"),
	}
	if j.Mode != jackcache.JournalMemory || s.set("JACKCACHE_JOURNAL_BYTES") {
		j.MaxBytes = value[int64](s, "JACKCACHE_JOURNAL_BYTES") // else its own default
	}
	return j
}

// nearTTL is how long copies of conversations may be given; zero: the default, which
// depends on their life.
func (s *settings) nearTTL() time.Duration {
	switch d := value[time.Duration](s, "JACKCACHE_NEAR_TTL"); {
	case !s.set("JACKCACHE_NEAR_TTL"):
		return 0
	case d == 0:
		return -1
	default:
		return d
	}
}

// store names the store in use, without secrets.
func (s *settings) store() string {
	if !s.usesRedis() {
		return embedded
	}
	name := redis + " "
	if mode := value[string](s, "REDIS_MODE"); mode != standalone {
		name += mode + " "
	}
	return name + strings.Join(s.addrs(), ",")
}

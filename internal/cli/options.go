package cli

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// checkStore finds contradictions between the settings of the store.
func (s *settings) checkStore(p *problems) {
	server := value[redisServer](s, "REDIS_URL")
	if server.tls {
		p.later("TLS to Redis", "REDIS_URL with rediss://")
	}
	store, named := value[string](s, "JACKCACHE_STORE"), s.set("REDIS_HOST") || s.set("REDIS_URL")
	off := s.set("USE_REDIS") && !value[bool](s, "USE_REDIS")
	switch {
	case store == embedded && named && !off:
		p.add("JACKCACHE_STORE is embedded, but REDIS_HOST or REDIS_URL is set: remove one, or set USE_REDIS=false")
	case store == redis && off:
		p.add("JACKCACHE_STORE is redis, but USE_REDIS is off: remove one")
	case store == redis && !named:
		p.add("JACKCACHE_STORE is redis, but neither REDIS_HOST nor REDIS_URL is set")
	case store == "auto" && !named && !off && value[string](s, "NODE_ENV") == production:
		p.add("NODE_ENV is production and neither REDIS_HOST nor REDIS_URL is set: set one, or JACKCACHE_STORE=embedded if this instance is to keep its state alone")
	}
	if s.set("REDIS_URL") && server.host != "" {
		s.compare(server, p)
	}
	if !named && store == "auto" && !off {
		for _, env := range []string{"REDIS_PORT", "REDIS_USERNAME", "REDIS_PASSWORD", "REDIS_DB"} {
			if s.set(env) {
				s.warnings = append(s.warnings, env+" is set without REDIS_HOST or REDIS_URL; the embedded store is used")
			}
		}
	}
}

// compare finds settings that say something else than the URL.
func (s *settings) compare(u redisServer, p *problems) {
	differs := func(env string, differ bool) {
		if s.set(env) && differ {
			p.add("REDIS_URL and %s are both set and differ: remove one", env)
		}
	}
	differs("REDIS_HOST", value[string](s, "REDIS_HOST") != u.host)
	differs("REDIS_PORT", value[int](s, "REDIS_PORT") != u.port && (u.port != 0 || value[int](s, "REDIS_PORT") != defaultPort))
	differs("REDIS_DB", u.db >= 0 && value[int](s, "REDIS_DB") != u.db)
	differs("REDIS_USERNAME", u.user != "" && value[string](s, "REDIS_USERNAME") != u.user)
	differs("REDIS_PASSWORD", u.password != "" && value[string](s, "REDIS_PASSWORD") != u.password)
}

const defaultPort = 6379

// redis says how Redis is reached; nil: the embedded store is used.
func (s *settings) redis() *jackcache.RedisOptions {
	off := !value[bool](s, "USE_REDIS") || value[string](s, "JACKCACHE_STORE") == embedded
	if off || !s.set("REDIS_HOST") && !s.set("REDIS_URL") {
		return nil
	}
	host, port := value[string](s, "REDIS_HOST"), value[int](s, "REDIS_PORT")
	o := jackcache.RedisOptions{
		Username: value[string](s, "REDIS_USERNAME"), Password: value[string](s, "REDIS_PASSWORD"),
		DB: value[int](s, "REDIS_DB"), InFlight: value[int](s, "JACKCACHE_REDIS_IN_FLIGHT"),
	}
	if u := value[redisServer](s, "REDIS_URL"); u.host != "" {
		host = u.host
		if u.port != 0 {
			port = u.port
		}
		if u.db >= 0 {
			o.DB = u.db
		}
		if u.user != "" {
			o.Username = u.user
		}
		if u.password != "" {
			o.Password = u.password
		}
	}
	o.Addrs = []string{net.JoinHostPort(host, strconv.Itoa(port))}
	return &o
}

// options are the settings in the form that the cache takes.
func (s *settings) options() (jackcache.Options, assistant.TTLs) {
	duration := func(env string) time.Duration { return value[time.Duration](s, env) }
	bytes := func(env string) int64 { return value[int64](s, env) }
	return jackcache.Options{
			Production: value[string](s, "NODE_ENV") == production,
			DataDir:    value[string](s, "JACKCACHE_DATA_DIR"),
			Redis:      s.redis(),
			Embedded: jackcache.EmbeddedOptions{
				MaxBytes: bytes("JACKCACHE_EMBEDDED_BYTES"), Budget: duration("JACKCACHE_EMBEDDED_BUDGET"),
			},
			Conversation: jackcache.ConversationOptions{
				TTL: duration("JACKCACHE_TTL_CONVERSATION_CONTEXT"), MaxLife: duration("JACKCACHE_MAX_LIFE"),
				Window: value[int](s, "JACKCACHE_WINDOW"), WindowBytes: int(bytes("JACKCACHE_WINDOW_BYTES")),
				MessageBytes: int(bytes("JACKCACHE_MESSAGE_BYTES")), Batch: value[int](s, "JACKCACHE_BATCH"),
				CompressAbove: int(bytes("JACKCACHE_MESSAGE_COMPRESS_ABOVE")),
			},
			Directory: value[bool](s, "JACKCACHE_DIRECTORY"), PhoneRegion: value[string](s, "JACKCACHE_PHONE_REGION"),
			Budget: duration("JACKCACHE_BUDGET"), LocalBytes: bytes("JACKCACHE_LOCAL_BYTES"),
			ForgetFor: duration("JACKCACHE_FORGET_FOR"),
		}, assistant.TTLs{
			Summary: duration("JACKCACHE_TTL_CONVERSATION_SUMMARY"), Lead: duration("JACKCACHE_TTL_PHONE_TO_LEAD"),
			LeadData: duration("JACKCACHE_TTL_LEAD_DATA"), History: duration("JACKCACHE_TTL_CONVERSATION_HISTORY"),
			Organization: duration("JACKCACHE_TTL_ORGANIZATION_DATA"), AgentConfig: duration("JACKCACHE_TTL_AGENT_CONFIG"),
			PreComputedContext: duration("JACKCACHE_TTL_PRE_COMPUTED_CONTEXT"), SSEResponse: duration("JACKCACHE_TTL_SSE_RESPONSE"),
		}
}

// store names the store in use, without secrets.
func (s *settings) store() string {
	if r := s.redis(); r != nil {
		return redis + " " + strings.Join(r.Addrs, ",")
	}
	return embedded
}

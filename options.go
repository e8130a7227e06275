package jackcache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/nyaruka/phonenumbers"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/jackcache/jackcache/internal/keys"
)

// Options says how a cache is opened. Every zero field means its documented
// default. Options are read by Open and not kept.
type Options struct {
	// Production selects the key prefix "jack:prod:" instead of "jack:dev:".
	Production bool

	// DataDir is a directory for what must survive this process: the embedded
	// store, the clock. It is created; one process at a time can use it.
	// Default "./jackcache-data".
	DataDir string

	// Redis is the shared store. Nil means the embedded store in DataDir.
	Redis *RedisOptions

	// Adopt takes another Redis than the one that DataDir belongs to, and records
	// it as the one from now on. Set it for one start: it is what keeps a wrong
	// address from splitting the data.
	Adopt bool

	// Embedded bounds the embedded store.
	Embedded EmbeddedOptions

	// Journal says how writes are kept until Redis has them, and for the case that
	// it loses them. The embedded store needs none.
	Journal JournalOptions

	// Conversation says how conversations are kept.
	Conversation ConversationOptions

	// Kinds are the kinds of values that this cache serves, made by NewKind.
	// Two kinds must not share a name or a key type.
	Kinds []AnyKind

	// Directory opens the directory of phones without an organisation.
	Directory bool

	// PhoneRegion is where numbers without a country code are read, as an ISO
	// 3166-1 alpha-2 code. Default "US".
	PhoneRegion string

	// Budget bounds every operation on one key when Redis is the store, loaders
	// not counted. Default 25 ms. The embedded store has EmbeddedOptions.Budget.
	Budget time.Duration

	// LoadTimeout bounds a loader of GetOrLoad. Default 10 s.
	LoadTimeout time.Duration

	// SlowAverage is the mean of get, set or append over the last minute above
	// which the Logger gets a warning, and again a line when it is well below.
	// Default half of Budget with Redis, 30 ms with the embedded store.
	SlowAverage time.Duration

	// Near says how copies of what Redis has are kept in this process.
	Near NearOptions

	// ReclaimRate is how many keys of Redis are looked at in a second, at most, to
	// give back what invalidated organisations took: 100 to 1,000,000. It begins some
	// seconds after an Org.Invalidate, in the background, takes one scan for all that
	// wait, and has no more than a twentieth of the time of Redis. Default 20,000;
	// negative: what was invalidated is kept until its life ends. The embedded store
	// does it by itself.
	ReclaimRate int

	// LocalBytes bounds the kinds that stay in this process. Default 32 MiB.
	LocalBytes int64

	// ForgetFor is how long it is remembered that a person was forgotten, so
	// that no import brings the person back. Default 30 days.
	ForgetFor time.Duration

	// Logger gets one line for each event of operation. Default slog.Default().
	Logger *slog.Logger

	// MeterProvider, if set, collects the metrics of docs/metrics.md. Nil: none.
	// Caches that share a provider report the same series, so give each its own.
	MeterProvider metric.MeterProvider

	// TracerProvider, if set, gets a span of each operation and of each trip to
	// Redis, below the span in the context of the call; a call without one makes
	// none. Nil: none.
	TracerProvider trace.TracerProvider

	// Now is the wall clock. Default time.Now. It exists for tests of clocks
	// that differ.
	Now func() time.Time
}

// RedisMode is how the Redis servers of a deployment belong together.
type RedisMode string

// The modes.
const (
	// Standalone is one server, or one with replicas of which the master is found
	// by asking all of Addrs.
	Standalone RedisMode = "standalone"
	// Sentinel is a master with replicas that Sentinels watch over.
	Sentinel RedisMode = "sentinel"
	// Cluster is a Redis Cluster.
	Cluster RedisMode = "cluster"
)

// RedisOptions says how a Redis or Valkey deployment is reached.
type RedisOptions struct {
	// Mode is explicit: a user without the right to ask could not tell a Cluster
	// from a single server. Default Standalone.
	Mode RedisMode
	// Addrs are host:port of servers: those of a Standalone deployment, the
	// Sentinels, or some members of the Cluster. Default "localhost:6379".
	Addrs []string
	// Username and Password authenticate (AUTH). Both may be empty.
	Username, Password string
	// Credentials, if set, is asked at every new connection, instead of Username
	// and Password.
	Credentials func() (username, password string, err error)
	// TLS, if set, encrypts connections to the servers. ServerName is by default
	// the host of the address.
	TLS *tls.Config
	// CurrentTLS, if set, is asked at every new connection, instead of TLS: for
	// certificates that are exchanged while the cache is open. It is called by
	// several goroutines and does not block.
	CurrentTLS func() (*tls.Config, error)
	// Sentinel is how the Sentinels are reached in Mode Sentinel.
	Sentinel SentinelOptions
	// DB is the number of the database, 0 in a Cluster. Use one per environment:
	// invalidation messages of Redis do not tell databases apart.
	DB int
	// Connections is how many connections carry the calls to a server, 1 to 64.
	// Default 1, which is best where values are small: calls that wait for the
	// same connection are sent together.
	Connections int
	// InFlight bounds the commands that wait for an answer of one server, 16 to
	// 3072. Default 2048.
	InFlight int
	// Dial, if set, makes the connections, TLS excluded. It is for tunnels and
	// for tests of faults.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// SentinelOptions says how Sentinels are reached. Their credentials and TLS are
// their own: those of the servers are not sent to them.
type SentinelOptions struct {
	// Master is the name under which the Sentinels know the master. Required.
	Master string
	// Username and Password authenticate to the Sentinels.
	Username, Password string
	// Credentials, if set, is asked at every new connection instead.
	Credentials func() (username, password string, err error)
	// TLS, if set, encrypts connections to the Sentinels.
	TLS *tls.Config
	// CurrentTLS, if set, is asked at every new connection instead.
	CurrentTLS func() (*tls.Config, error)
}

// EmbeddedOptions bounds the embedded store.
type EmbeddedOptions struct {
	// MaxBytes bounds what is stored; at the limit writes get ErrFull.
	// Default 4 GiB.
	MaxBytes int64
	// Budget bounds an operation. Every write waits for the disk. Default 2 s.
	Budget time.Duration
	// AfterRedis lets the embedded store serve a DataDir that has served Redis.
	// It does not have what Redis holds: nothing is carried back. Without it Open
	// returns ErrWrongStore there, because a lost setting looks the same.
	AfterRedis bool
}

// JournalMode says what a journal is good for.
type JournalMode string

// The modes.
const (
	// JournalRequired: it is in DataDir; a write that it cannot take is refused.
	JournalRequired JournalMode = "required"
	// JournalOptional: a write that Redis has is acknowledged even where the
	// journal cannot take it, so that Redis has the only copy.
	JournalOptional JournalMode = "optional"
	// JournalMemory: it is in this process. It bridges an outage of Redis and does
	// not survive the process. DataDir need not be writable, and where it is not,
	// nothing guards against another Redis or a clock that goes back.
	JournalMemory JournalMode = "memory"
	// JournalOff: there is none. While Redis is away writes get ErrUnavailable, and
	// what Redis loses is lost.
	JournalOff JournalMode = "off"
)

// JournalOptions says how writes are kept beside Redis.
type JournalOptions struct {
	// Mode. Default JournalRequired.
	Mode JournalMode
	// MaxBytes bounds the journal. Default 2 GiB, or 256 MiB in memory.
	MaxBytes int64
	// Window is how long a write that Redis has is kept for the case that it loses
	// it, as far as MaxBytes allow. Default 24 h.
	Window time.Duration
	// ReplayRate is the most operations a second with which Redis is brought up to
	// date. While Redis or the journal are slow there are fewer, but that alone does
	// not make them less than 2,500. Default 10,000.
	ReplayRate int
}

// ConversationOptions says how conversations are kept.
type ConversationOptions struct {
	// TTL is the life of a conversation from its last write. Default 2 h.
	TTL time.Duration
	// MaxLife bounds the life from the first write. Zero: no bound.
	MaxLife time.Duration
	// Window is how many messages are kept. Default 200, at most 10,000.
	Window int
	// WindowBytes is how many bytes of messages are kept, as stored. Default 4 MiB.
	WindowBytes int
	// MessageBytes bounds one message. Default 64 KiB.
	MessageBytes int
	// Batch bounds the messages of one append. Default 100.
	Batch int
	// CompressAbove is the size in bytes from which a message is stored
	// compressed. Default 1 KiB; negative means never.
	CompressAbove int
	// NearTTL is how long a copy may be given from this process, as far as it is
	// current. Default DefaultNearTTL; negative: there are no copies.
	NearTTL time.Duration
}

// The defaults of Options.
const (
	DefaultDataDir         = "./jackcache-data"
	DefaultBudget          = 25 * time.Millisecond
	DefaultEmbeddedBudget  = 2 * time.Second
	DefaultEmbeddedSlow    = 30 * time.Millisecond
	DefaultLoadTimeout     = 10 * time.Second
	DefaultEmbeddedBytes   = 4 << 30
	DefaultLocalBytes      = 32 << 20
	DefaultForgetFor       = 30 * 24 * time.Hour
	DefaultConversationTTL = 2 * time.Hour
	DefaultWindow          = 200
	DefaultWindowBytes     = 4 << 20
	DefaultMessageBytes    = 64 << 10
	DefaultBatch           = 100
	DefaultCompressAbove   = 1 << 10
	DefaultValueBytes      = 1 << 20
	DefaultInFlight        = 2048
	DefaultJournalBytes    = 2 << 30
	DefaultMemoryJournal   = 256 << 20
	DefaultJournalWindow   = 24 * time.Hour
	DefaultReplayRate      = 10_000
	DefaultReclaimRate     = 20_000
	DefaultRedisAddr       = "localhost:6379"

	// MaxTTL bounds every life.
	MaxTTL = 30 * 24 * time.Hour
	// MaxWindow bounds ConversationOptions.Window.
	MaxWindow = 10_000
	// MaxBatch bounds ConversationOptions.Batch.
	MaxBatch = 1_000

	// rememberedIDs is how many message ids a conversation remembers at least.
	rememberedIDs = 1_000
	// windowSlack is how many messages a window may grow before it is trimmed.
	windowSlack = 32
	// keepMargin is added to the life of tombstones.
	keepMargin = time.Minute
	// shortestFreshness is the least of NearOptions.Freshness: below it a proof that
	// comes a little late would already make copies stale.
	shortestFreshness = 500 * time.Millisecond
	// storeShare is the part of the budget that the store may take; the rest is
	// for this process.
	storeShare = 0.72
	// writeShare is that of writes which the journal can keep where the store does
	// not answer: a disk takes its time, too.
	writeShare = 0.48
)

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// withDefaults returns o with every zero field filled in.
func (o Options) withDefaults() Options {
	orDefault(&o.DataDir, DefaultDataDir)
	orDefault(&o.PhoneRegion, keys.DefaultRegion)
	orDefault(&o.Budget, DefaultBudget)
	orDefault(&o.LoadTimeout, DefaultLoadTimeout)
	if o.Redis != nil {
		orDefault(&o.SlowAverage, o.Budget/2)
	}
	orDefault(&o.SlowAverage, DefaultEmbeddedSlow)
	orDefault(&o.LocalBytes, DefaultLocalBytes)
	orDefault(&o.ReclaimRate, DefaultReclaimRate)
	orDefault(&o.Near.MaxBytes, DefaultNearBytes)
	orDefault(&o.Near.Share, DefaultNearShare)
	orDefault(&o.Near.Freshness, DefaultFreshness)
	orDefault(&o.ForgetFor, DefaultForgetFor)
	orDefault(&o.Embedded.MaxBytes, DefaultEmbeddedBytes)
	orDefault(&o.Embedded.Budget, DefaultEmbeddedBudget)
	orDefault(&o.Conversation.TTL, DefaultConversationTTL)
	orDefault(&o.Conversation.Window, DefaultWindow)
	orDefault(&o.Conversation.WindowBytes, DefaultWindowBytes)
	orDefault(&o.Conversation.MessageBytes, DefaultMessageBytes)
	orDefault(&o.Conversation.Batch, DefaultBatch)
	orDefault(&o.Conversation.CompressAbove, DefaultCompressAbove)
	orDefault(&o.Conversation.NearTTL, min(DefaultNearTTL, o.Conversation.TTL))
	orDefault(&o.Journal.Mode, JournalRequired)
	if o.Journal.Mode == JournalMemory {
		orDefault(&o.Journal.MaxBytes, DefaultMemoryJournal)
	}
	orDefault(&o.Journal.MaxBytes, DefaultJournalBytes)
	orDefault(&o.Journal.Window, DefaultJournalWindow)
	orDefault(&o.Journal.ReplayRate, DefaultReplayRate)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Redis != nil {
		r := *o.Redis
		orDefault(&r.Mode, Standalone)
		orDefault(&r.Connections, 1)
		if r.Addrs = slices.Clone(r.Addrs); len(r.Addrs) == 0 {
			r.Addrs = []string{DefaultRedisAddr}
		}
		orDefault(&r.InFlight, DefaultInFlight)
		o.Redis = &r
	}
	return o
}

// budget is that of the store in use.
func (o Options) budget() time.Duration {
	if o.Redis == nil {
		return o.Embedded.Budget
	}
	return o.Budget
}

// validate reports every problem of filled-in options at once.
func (o Options) validate() error {
	var errs []error
	bad := func(field string, got any, want string) {
		errs = append(errs, fmt.Errorf("%w: Options.%s is %v: allowed are %s", ErrInvalid, field, got, want))
	}
	if !phonenumbers.GetSupportedRegions()[o.PhoneRegion] {
		bad("PhoneRegion", fmt.Sprintf("%q", o.PhoneRegion), "ISO 3166-1 alpha-2 codes such as US, GB, DE")
	}
	within := func(field string, d, low, high time.Duration) {
		if d < low || d > high {
			bad(field, d, fmt.Sprintf("%s to %s", low, high))
		}
	}
	between := func(field string, n, low, high int64) {
		if n < low || n > high {
			bad(field, n, fmt.Sprintf("%d to %d", low, high))
		}
	}
	within("Budget", o.Budget, 2*time.Millisecond, time.Minute)
	within("Embedded.Budget", o.Embedded.Budget, 2*time.Millisecond, time.Minute)
	within("SlowAverage", o.SlowAverage, 100*time.Microsecond, time.Minute)
	within("LoadTimeout", o.LoadTimeout, time.Millisecond, time.Hour)
	within("ForgetFor", o.ForgetFor, time.Hour, 3650*24*time.Hour)
	within("Conversation.TTL", o.Conversation.TTL, time.Second, MaxTTL)
	within("Conversation.MaxLife", o.Conversation.MaxLife, 0, MaxTTL)
	between("Conversation.Window", int64(o.Conversation.Window), 1, MaxWindow)
	between("Conversation.WindowBytes", int64(o.Conversation.WindowBytes), 1<<10, 256<<20)
	between("Conversation.MessageBytes", int64(o.Conversation.MessageBytes), 64, 16<<20)
	between("Conversation.Batch", int64(o.Conversation.Batch), 1, MaxBatch)
	between("LocalBytes", o.LocalBytes, 1<<16, 1<<40)
	if o.Near.MaxBytes >= 0 {
		between("Near.MaxBytes", o.Near.MaxBytes, 1<<16, 1<<40)
	}
	if s := o.Near.Share; !(s > 0 && s <= 1) { // NaN is refused, too
		bad("Near.Share", s, "what is above 0 and at most 1")
	}
	within("Near.Freshness", o.Near.Freshness, shortestFreshness, time.Minute)
	between("Embedded.MaxBytes", o.Embedded.MaxBytes, 1<<20, 1<<50)
	switch o.Journal.Mode {
	case JournalRequired, JournalOptional, JournalMemory, JournalOff:
	default:
		bad("Journal.Mode", fmt.Sprintf("%q", o.Journal.Mode), "required, optional, memory, off")
	}
	between("Journal.MaxBytes", o.Journal.MaxBytes, 1<<20, 1<<40)
	within("Journal.Window", o.Journal.Window, time.Minute, MaxTTL)
	between("Journal.ReplayRate", int64(o.Journal.ReplayRate), 100, 1_000_000)
	if o.ReclaimRate >= 0 {
		between("ReclaimRate", int64(o.ReclaimRate), 100, 1_000_000)
	}
	if r := o.Redis; r != nil {
		between("Redis.DB", int64(r.DB), 0, 1<<20)
		between("Redis.InFlight", int64(r.InFlight), 16, 3<<10)
		between("Redis.Connections", int64(r.Connections), 1, 64)
		switch r.Mode {
		case Standalone:
		case Sentinel:
			if r.Sentinel.Master == "" {
				bad("Redis.Sentinel.Master", `""`, "the name under which the Sentinels know the master")
			}
		case Cluster:
			if r.DB != 0 {
				bad("Redis.DB", r.DB, "0, the only database of a Cluster")
			}
		default:
			bad("Redis.Mode", fmt.Sprintf("%q", r.Mode), "standalone, sentinel, cluster")
		}
		for _, addr := range r.Addrs {
			if _, _, err := net.SplitHostPort(addr); err != nil {
				bad("Redis.Addrs", fmt.Sprintf("%q", addr), "host:port")
			}
		}
	}
	return errors.Join(append(errs, checkKinds(o.Kinds))...)
}

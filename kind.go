package jackcache

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/bytedance/sonic"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/engine"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/near"
	"github.com/jackcache/jackcache/internal/store"
)

// IDForm says what the id of a kind is.
type IDForm uint8

// The forms of ids.
const (
	// OpaqueID is any text of 1 to 128 bytes.
	OpaqueID IDForm = iota
	// NoID: the kind has one value per organisation; pass "".
	NoID
	// PhoneID is a phone number, kept as the digits of its E.164 form. Org.Forget
	// deletes the value.
	PhoneID
	// PlusPhoneID is a phone number, kept in E.164 form. Org.Forget deletes the
	// value.
	PlusPhoneID
	// LeadID is a lead's id. Org.Forget deletes the value of the lead that the
	// phone belongs to.
	LeadID
)

// KindOptions declares a kind.
type KindOptions struct {
	// Name is the kind's name in stats and in HTTP paths. Required: a letter,
	// then letters and digits.
	Name string
	// KeyType is the type in the keys of the shared store. Default Name.
	KeyType string
	// ID is the form of its ids.
	ID IDForm
	// TTL is the life of a value from its last write, or with Sliding from its last
	// write or read; 1 ms to MaxTTL. Required.
	TTL time.Duration
	// Sliding lets reads prolong the life of a value to TTL, reads of a copy in this
	// process included, when a quarter of it has passed: a value that is read at least
	// every three quarters of its TTL lives on until MaxLife. The store is told behind
	// the read. While Redis is away that is dropped: a value whose TTL ends meanwhile is gone,
	// and one that Redis lost comes back with the life that its write gave it.
	Sliding bool
	// MaxLife bounds the life of a value of a Sliding kind, from its last write, as its
	// version tells the time: TTL to MaxTTL. Default MaxTTL. Only with Sliding. What
	// GetOrLoad stores after a deletion has the version next to that of the deletion, as
	// long as that is remembered: its MaxLife counts from there, and where it is over
	// the value lives for its TTL.
	MaxLife time.Duration
	// MaxBytes bounds the JSON of a value. Default 1 MiB.
	MaxBytes int
	// CompressAbove is the size in bytes from which a value is stored
	// compressed. Default 1 KiB; negative means never.
	CompressAbove int
	// LocalOnly keeps values in this process; they are not shared, not
	// conditional, and gone when it ends. An invalidation by another instance
	// reaches them when this one next asks the store about the organisation.
	LocalOnly bool
	// Derived values can be had again from where they come from. While the journal
	// cannot be written they are stored in Redis without a second copy; values that
	// are not derived are refused then.
	Derived bool
	// NearTTL is how long a copy may be given from this process, as far as it is
	// current. Default TTL, at most DefaultNearTTL; negative: there are no copies.
	NearTTL time.Duration
	// Immutable says that nobody changes the values that reads give: slices, maps and
	// pointers in them are shared by all who read the same. Reads of a copy are
	// quickest so. Values that are not immutable are decoded anew for each.
	Immutable bool
	// ServeStale gives a copy that need not be current, with the Source SourceStale,
	// where Redis does not answer, instead of ErrUnavailable; and from GetOrLoad where
	// the loader fails, unless by ErrNotFound, or takes longer than SoftTimeout or
	// HardTimeout. What was deleted, invalidated or forgotten is not given, as far as
	// this process can know: while Redis is away it does not hear of what others do.
	ServeStale bool
	// StaleFor is for how long after it was last known to be current a copy may be
	// given so, also when it has expired; at most MaxTTL, and only with ServeStale.
	// Copies are kept that long, within Options.Near. Zero: a copy is given until its
	// NearTTL or its life ends, or Redis tells that the value has changed or expired.
	// Every instance that deletes values of the kind must have the same.
	StaleFor time.Duration
	// SoftTimeout is how long GetOrLoad waits for Redis and the loader where a stale
	// copy may be given; after it the copy is given, and the load goes on, within
	// Options.LoadTimeout, for those who come later. While Redis is away the
	// loader is called, too, although nothing is kept then. Only with ServeStale. Zero:
	// GetOrLoad waits for the loader; while Redis is away it gives the copy at once.
	SoftTimeout time.Duration
	// HardTimeout is how long GetOrLoad waits at all; after it it gives a stale copy,
	// or ErrTimeout, and the load goes on. Not below SoftTimeout. Zero: GetOrLoad
	// waits for Options.LoadTimeout.
	HardTimeout time.Duration
	// NegativeTTL is for how long it is remembered, by all instances, that a loader
	// returned ErrNotFound; at most TTL. GetOrLoad returns ErrNotFound meanwhile. What
	// is written, deleted or invalidated ends it, wherever. A copy in a process may
	// outlive the record in Redis by as long again where Redis does not tell that it
	// has expired; without copies each call asks Redis. After a deletion, and for a
	// kind with LocalOnly, each instance remembers it for itself. While Redis is away
	// nothing is remembered. Zero: the loader is called each time.
	NegativeTTL time.Duration
	// TTLJitter is the part of TTL, 0 to 1, that is taken at most, by chance, from the
	// life of what GetOrLoad stores: what was loaded together does not expire
	// together then. Set stores for TTL.
	TTLJitter float64
	// Directory lets the kind be used without an organisation, through
	// Cache.Directory. Only for the kind with the key type phoneToLead.
	Directory bool
}

// AnyKind is a Kind of any type, for Options.Kinds.
type AnyKind interface {
	// Info returns the declaration with defaults filled in.
	Info() KindOptions
	kind() *kind
}

// Kind is a declared kind of values of type T, which are kept as JSON. T may be
// json.RawMessage for JSON that passes through as it is. Make it once with
// NewKind, hand it to Open in Options.Kinds, and use it with any number of
// organisations. Values are copied in and out. Safe for concurrent use.
type Kind[T any] struct{ k kind }

type kind struct {
	opts   KindOptions
	typ    keys.Type
	policy engine.Policy
	err    error // of the declaration; Open reports it
}

// NewKind declares a kind. Open reports what is wrong with the declaration.
func NewKind[T any](o KindOptions) *Kind[T] {
	orDefault(&o.KeyType, o.Name)
	orDefault(&o.MaxBytes, DefaultValueBytes)
	orDefault(&o.CompressAbove, DefaultCompressAbove)
	orDefault(&o.NearTTL, min(DefaultNearTTL, o.TTL))
	if o.Sliding {
		orDefault(&o.MaxLife, MaxTTL)
	}
	if o.LocalOnly { // it is in the process anyway
		o.NearTTL = -1
	}
	return &Kind[T]{k: kind{
		opts: o, typ: keys.Type(o.KeyType), err: checkKind(o),
		policy: engine.Policy{
			TTL: o.TTL, Keep: max(o.TTL, o.StaleFor) + keepMargin, CompressAbove: o.CompressAbove, LocalOnly: o.LocalOnly, Derived: o.Derived,
			Near: o.NearTTL, Stale: o.ServeStale, StaleFor: o.StaleFor, SoftTimeout: o.SoftTimeout, HardTimeout: o.HardTimeout,
			NegativeTTL: o.NegativeTTL, Jitter: o.TTLJitter, Sliding: o.Sliding, MaxLife: o.MaxLife,
		},
	}}
}

// Info returns the declaration with defaults filled in.
func (k *Kind[T]) Info() KindOptions { return k.k.opts }

func (k *Kind[T]) kind() *kind { return &k.k }

// Entry is a value and what is known of it.
type Entry[T any] struct {
	Value   T
	Version Version
	Source  Source
	// Age is how long ago the value was last known to be current. Zero: now, or less than
	// NearOptions.Freshness ago: of a copy that is current (SourceNear), and where copies
	// are kept of what Redis gave to another caller at the same moment (SourceShared). Of
	// SourceStale and SourcePending it is the time since this instance wrote it, or since
	// its copy was last proven.
	Age time.Duration
}

// Ref is one value of a kind: who reads it again and again is spared making its key,
// and looking for the copy in this process. Make it with Kind.Ref. It is a small value.
// The zero Ref returns ErrInvalid. Safe for concurrent use.
type Ref[T any] struct{ *ref }

type ref struct {
	kind   *kind
	org    Org
	key    keys.Key
	counts *kindCounts
	handle near.Handle
	err    error
}

// Ref returns the value of an id. An id that is not allowed makes every call return
// ErrInvalid.
func (k *Kind[T]) Ref(o Org, id string) Ref[T] {
	r := &ref{kind: &k.k, org: o}
	if r.key, r.err = o.key(&k.k, id); r.err == nil {
		r.counts = o.cache.counts[&k.k]
	}
	return Ref[T]{r}
}

// Get is Kind.Get.
func (r Ref[T]) Get(ctx context.Context) (T, error) {
	var e Entry[T]
	err := r.read(ctx, &e)
	return e.Value, err
}

// Entry is Kind.Entry.
func (r Ref[T]) Entry(ctx context.Context) (e Entry[T], err error) {
	err = r.read(ctx, &e)
	return e, err
}

func (r Ref[T]) read(ctx context.Context, e *Entry[T]) error {
	if r.ref == nil {
		return invalid("the zero Ref is of no value; use Kind.Ref")
	}
	if r.err != nil {
		return r.err
	}
	return readEntry(ctx, r.kind, &r.org, &r.key, &r.handle, r.counts, e)
}

// readEntry reads the value of a key into e, which is zero. The handle is nil where the
// key is read once.
func readEntry[T any](ctx context.Context, k *kind, o *Org, key *keys.Key, h *near.Handle, counts *kindCounts, e *Entry[T]) error {
	var v engine.Value
	if err := o.cache.engine.GetAt(ctx, key, h, &k.policy, &v); err != nil {
		return mapError(ctx, "get "+k.opts.Name, err)
	}
	counts.countValue(&v)
	if !v.Found {
		return fmt.Errorf("%s of %s: %w", k.opts.Name, *o, ErrNotFound)
	}
	return decodeFor(k, &v, e)
}

// Get returns the value of an id. It returns ErrNotFound when there is none.
func (k *Kind[T]) Get(ctx context.Context, o Org, id string) (T, error) {
	e, err := k.Entry(ctx, o, id)
	return e.Value, err
}

// Entry is Get with the value's version and where it came from.
func (k *Kind[T]) Entry(ctx context.Context, o Org, id string) (e Entry[T], err error) {
	key, err := o.key(&k.k, id)
	if err != nil {
		return e, err
	}
	err = readEntry(ctx, &k.k, &o, &key, nil, o.cache.counts[&k.k], &e)
	return e, err
}

// GetMany returns the values of several ids, in the order of ids: those of which
// this process has no current copy in one round trip. Absent ones have the zero Version. At most MaxReads ids.
//
// Each is answered as by Get: while Redis is away by what this instance has
// accepted or, with ServeStale, by a copy, as Entry.Source tells. Where some cannot be
// answered the error is a *PartialError: it tells which and why, and the entries
// of the others are returned beside it. With any other error there are none.
func (k *Kind[T]) GetMany(ctx context.Context, o Org, ids ...string) ([]Entry[T], error) {
	reads := make([]KindID, len(ids))
	for i, id := range ids {
		reads[i] = KindID{Kind: k, ID: id}
	}
	vs, failed, err := o.getMany(ctx, reads)
	if err != nil {
		return nil, err
	}
	out := make([]Entry[T], len(vs))
	for i, v := range vs {
		if v.Found {
			if err = decodeFor(&k.k, &v, &out[i]); err != nil {
				failed.fails(i, len(vs), err)
			}
		}
	}
	return out, failed.err()
}

// Set stores value for the kind's TTL and returns its version. When it returns
// nil the value is not lost: it is in Redis and in the journal, or, while Redis is
// away, on the journal's disk, from where it gets to Redis; WithReceipt tells
// which. A conditional write is never kept for later.
//
// Errors: ErrInvalid, ErrTooLarge, ErrJournal and ErrUnavailable (nothing was
// stored), ErrUnknown, ErrFull, ErrRejected; with conditions ErrPrecondition.
func (k *Kind[T]) Set(ctx context.Context, o Org, id string, value T, conds ...Condition) (Version, error) {
	key, err := o.key(&k.k, id)
	if err != nil {
		return "", err
	}
	payload, err := encode(value)
	if err != nil {
		return "", invalid("%s: %v", k.k.opts.Name, err)
	}
	if err := k.k.checkSize(len(payload)); err != nil {
		return "", err
	}
	cond, err := toCondition(conds)
	if err != nil {
		return "", err
	}
	v, err := o.cache.engine.Set(ctx, key, payload, k.k.policy, cond)
	if err != nil {
		return "", mapError(ctx, "set "+k.k.opts.Name, err)
	}
	return toVersion(v), nil
}

// Delete removes the value of an id. To delete what is not there is no error.
func (k *Kind[T]) Delete(ctx context.Context, o Org, id string, conds ...Condition) error {
	return k.k.delete(ctx, o, id, conds)
}

func (k *kind) delete(ctx context.Context, o Org, id string, conds []Condition) error {
	key, err := o.key(k, id)
	if err != nil {
		return err
	}
	cond, err := toCondition(conds)
	if err != nil {
		return err
	}
	return mapError(ctx, "delete "+k.opts.Name, o.cache.engine.Delete(ctx, key, k.policy, cond))
}

func (k *kind) checkSize(n int) error {
	if n > k.opts.MaxBytes {
		return fmt.Errorf("%w: a value of %s has %d bytes; allowed are %d", ErrTooLarge, k.opts.Name, n, k.opts.MaxBytes)
	}
	return nil
}

// codec copies no strings out of a payload: payloads belong to the caller who
// decodes them. What is read was checked when it was written, so the decoder
// does not check it again.
var (
	codec   = sonic.Config{ValidateString: true}.Froze()
	decoder = sonic.Config{}.Froze()
)

func encode[T any](value T) ([]byte, error) {
	if raw, ok := any(value).(json.RawMessage); ok {
		if !ValidJSON(raw) {
			return nil, fmt.Errorf("the value is not JSON")
		}
		return slices.Clone(raw), nil
	}
	return codec.Marshal(value)
}

func decode[T any](v *engine.Value) (Entry[T], error) {
	e := Entry[T]{Version: toVersion(v.Version), Source: Source(v.Source), Age: v.Age}
	payload := v.Payload
	if v.Shared {
		payload = slices.Clone(payload)
	}
	if raw, ok := any(&e.Value).(*json.RawMessage); ok {
		*raw = payload
		return e, nil
	}
	if err := decoder.Unmarshal(payload, &e.Value); err != nil {
		return Entry[T]{}, fmt.Errorf("%w: the value is not of the kind's type: %w", ErrCorrupt, err)
	}
	return e, nil
}

// Version is a point in the order of all writes: 20 lower-case hexadecimal
// digits, which sort as text. Empty means none.
type Version string

// WrittenAt returns the time of the write; the zero time where v is no version.
func (v Version) WrittenAt() time.Time {
	c, err := clock.Parse(string(v))
	if err != nil {
		return time.Time{}
	}
	return c.WrittenAt()
}

func toVersion(v clock.Version) Version {
	if v.IsZero() {
		return ""
	}
	return Version(v.String())
}

// Condition makes a write conditional. The shared store decides.
type Condition struct {
	kind    store.ConditionKind
	version Version
}

// IfAbsent lets a write happen only where there is no value.
func IfAbsent() Condition { return Condition{kind: store.IfAbsent} }

// IfVersion lets a write happen only where the value has the version.
func IfVersion(v Version) Condition { return Condition{kind: store.IfVersion, version: v} }

func toCondition(conds []Condition) (store.Condition, error) {
	switch {
	case len(conds) == 0:
		return store.Condition{}, nil
	case len(conds) > 1:
		return store.Condition{}, invalid("%d conditions: allowed is one", len(conds))
	}
	c := store.Condition{Kind: conds[0].kind}
	if c.Kind != store.IfVersion {
		return c, nil
	}
	var err error
	if c.Version, err = clock.Parse(string(conds[0].version)); err != nil {
		return c, invalid("version %q: %v", conds[0].version, err)
	}
	return c, nil
}

// Source tells where a value came from.
type Source uint8

// The sources of values.
const (
	SourceNear   = Source(engine.FromNear)   // this process
	SourceShared = Source(engine.FromShared) // the store, perhaps asked by another caller at the same moment
	SourceLoader = Source(engine.FromLoader) // it was loaded for this call
	// SourcePending: this instance accepted it, and the store may not have it yet.
	SourcePending = Source(engine.FromPending)
	// SourceStale: this instance wrote it, or has a copy, and the store is away or the
	// load failed or takes long; others may have written since.
	SourceStale = Source(engine.FromStale)
)

// String returns the word used in the Cache-Status header.
func (s Source) String() string {
	switch s {
	case SourceNear:
		return "near"
	case SourceShared:
		return "shared"
	case SourceLoader:
		return "loader"
	case SourcePending:
		return "pending"
	case SourceStale:
		return "stale"
	}
	return "unknown"
}

package filestore

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// The tests start themselves as other processes; see child_test.go.
var (
	childRole = flag.String("filestore.child", "", "run as a child in this role")
	childFile = flag.String("filestore.file", "", "the store file of the child")
	childMark = flag.String("filestore.mark", "", "begins the ids that the child writes")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *childRole != "" {
		if err := runChild(*childRole, *childFile, *childMark); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// fixture is a store with a clock that tests move.
type fixture struct {
	*Store
	t     testing.TB
	path  string
	space keys.Space
	clock *clock.Clock
	// damaged: the test broke the file; its invariants do not hold.
	damaged bool

	mu   sync.Mutex
	time time.Time // guarded by mu
}

// start is when the clocks of tests begin.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newFixture opens a store in a new file. It is closed at the end of the test.
func newFixture(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, path: filepath.Join(t.TempDir(), "store.db"), space: mustSpace(t), time: start}
	f.clock = clock.New(f.now, 1, nil)
	f.open(change...)
	t.Cleanup(f.close)
	return f
}

func (f *fixture) open(change ...func(*Options)) {
	f.t.Helper()
	s, err := Open(f.path, f.options(change...))
	if err != nil {
		f.t.Fatal(err)
	}
	f.Store = s
}

func (f *fixture) options(change ...func(*Options)) Options {
	o := Options{Space: f.space, Now: f.now, SweepEvery: -1}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (f *fixture) close() {
	f.t.Helper()
	if err := f.Close(context.Background()); err != nil {
		f.t.Errorf("close: %v", err)
	}
	if !f.damaged {
		checkInvariants(f.t, f.path, f.space)
	}
}

func (f *fixture) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.time
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.time = f.time.Add(d)
}

func (f *fixture) apply(op store.Op, want store.Status) store.Result {
	f.t.Helper()
	res, err := f.Apply(context.Background(), op)
	if err != nil || res.Status != want {
		f.t.Fatalf("apply %s: status %d, %v; want status %d", op.Key, res.Status, err, want)
	}
	return res
}

// applyAll applies operations that do not depend on each other, many at a time.
func (f *fixture) applyAll(n int, op func(i int) store.Op) {
	f.t.Helper()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if res, err := f.Apply(context.Background(), op(int(i))); err != nil || res.Status != store.Applied {
					f.t.Errorf("operation %d: status %d, %v", i, res.Status, err)
				}
			}
		})
	}
	wg.Wait()
}

func (f *fixture) set(k keys.Key, payload string) store.Op {
	return store.Op{Action: store.Set, Key: k, Version: f.clock.Now(), TTL: time.Hour, Payload: []byte(payload)}
}

func (f *fixture) tombstone(k keys.Key) store.Op {
	return store.Op{Action: store.Set, Key: k, Version: f.clock.Now(), TTL: time.Hour, Flags: record.Tombstone}
}

func (f *fixture) append(k keys.Key, ids ...string) store.Op {
	return appendAt(k, f.clock.Now(), ids...)
}

func appendAt(k keys.Key, v clock.Version, ids ...string) store.Op {
	op := store.Op{Action: store.Append, Key: k, Version: v, TTL: time.Hour, Window: store.Window{Messages: 1 << 20, IDs: 1 << 20}}
	for i, id := range ids {
		op.Messages = append(op.Messages, message(id, uint16(i)))
	}
	return op
}

func message(id string, index uint16) store.Message {
	sum := sha256.Sum256([]byte(id))
	return store.Message{ID: id, Index: index, Digest: digest(sum[:8]), Payload: fmt.Appendf(nil, `{"id":%q,"role":"user","content":"hello"}`, id)}
}

func (f *fixture) value(org, id string) keys.Key { return key(f.t, f.space, "lead", org, id) }

func (f *fixture) talk(org, phone string) keys.Key {
	return key(f.t, f.space, keys.Conversations, org, phone)
}

func (f *fixture) org(name string) keys.Org {
	o, err := keys.ParseOrg(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

func key(t testing.TB, space keys.Space, typ keys.Type, org, id string) keys.Key {
	t.Helper()
	o, oerr := keys.ParseOrg(org)
	i, ierr := keys.ParseID(id)
	if err := errors.Join(oerr, ierr); err != nil {
		t.Fatal(err)
	}
	return space.Key(typ, o, i)
}

func mustSpace(t testing.TB) keys.Space {
	t.Helper()
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	return space
}

// live returns the live value of a key, "" for none.
func (f *fixture) live(k keys.Key) string {
	f.t.Helper()
	r, err := f.Get(context.Background(), k)
	if err != nil {
		f.t.Fatalf("get %s: %v", k, err)
	}
	if !r.Live() {
		return ""
	}
	return string(r.Value.Stored)
}

// ids returns the ids of a conversation.
func (f *fixture) ids(k keys.Key) []string {
	f.t.Helper()
	l, err := f.Messages(context.Background(), k, 0)
	if err != nil {
		f.t.Fatalf("messages of %s: %v", k, err)
	}
	var ids []string
	for _, m := range l.Messages {
		ids = append(ids, m.ID)
	}
	return ids
}

// change alters the file behind the store's back.
func (f *fixture) change(fn func(tx *bbolt.Tx) error) {
	f.t.Helper()
	if err := f.db.Update(fn); err != nil {
		f.t.Fatal(err)
	}
}

// clockBefore returns a version just below that of op.
func (f *fixture) clockBefore(op store.Op) clock.Version {
	return clock.NewVersion(op.Version.Millis()-1, 0, 1)
}

// rowCount counts the rows below a bucket of the top level.
func (f *fixture) rowCount(bucket []byte) (n int) {
	f.t.Helper()
	var count func(b *bbolt.Bucket) error
	count = func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			n++
			if v == nil {
				return count(b.Bucket(k))
			}
			return nil
		})
	}
	if err := f.db.View(func(tx *bbolt.Tx) error { return count(tx.Bucket(bucket)) }); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// yield lets other goroutines run while a test waits for one of them to block,
// which nothing announces.
func yield() { runtime.Gosched() }

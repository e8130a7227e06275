package journal

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/store"
)

func testSpace(t testing.TB) keys.Space {
	t.Helper()
	s, err := keys.NewSpace(keys.Dev)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testOrg(t testing.TB, name string) keys.Org {
	t.Helper()
	o, err := keys.ParseOrg(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func testKey(t testing.TB, typ keys.Type, org, id string) keys.Key {
	t.Helper()
	i, err := keys.ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	return testSpace(t).Key(typ, testOrg(t, org), i)
}

func testOptions(t testing.TB) Options {
	t.Helper()
	return Options{
		Dir: t.TempDir(), Space: testSpace(t), MaxBytes: 64 << 20, Window: 24 * time.Hour, LowWater: -1,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// openTest opens a journal that is closed at the end of the test.
func openTest(t testing.TB, o Options) *Journal {
	t.Helper()
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, j) })
	return j
}

func closeTest(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func appendTest(t testing.TB, j *Journal, records ...*Record) {
	t.Helper()
	if err := j.Append(context.Background(), true, records...); err != nil {
		t.Fatal(err)
	}
}

// version returns the n-th version of a live write.
func version(n int) clock.Version { return clock.NewVersion(1<<41+int64(n), 0, 1) }

func setRecord(kind Kind, k keys.Key, n int) *Record {
	now := time.Now().Truncate(time.Millisecond)
	return &Record{Kind: kind, Time: now, Op: store.Op{
		Action: store.Set, Mode: store.Merge, Key: k, Version: version(n),
		ExpiresAt: now.Add(time.Hour), Payload: fmt.Appendf(nil, `{"n":%d}`, n),
	}}
}

func appendRecord(kind Kind, k keys.Key, n int) *Record {
	r := setRecord(kind, k, n)
	r.Op.Action, r.Op.Payload = store.Append, nil
	r.Op.Messages = []store.Message{{ID: fmt.Sprint("m", n), Payload: fmt.Appendf(nil, `{"id":"m%d"}`, n)}}
	r.Op.Window = store.Window{Messages: 10, Slack: 2, IDs: 50}
	return r
}

func TestAppendAndReopen(t *testing.T) {
	for _, inMemory := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory=%t", inMemory), func(t *testing.T) {
			o := testOptions(t)
			o.Memory = inMemory
			j, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			k, c := testKey(t, "leads", "org", "1"), testKey(t, keys.Conversations, "org", "2")
			a, p, m := setRecord(Applied, k, 1), setRecord(Pending, k, 2), appendRecord(Pending, c, 3)
			appendTest(t, j, a, p, m)
			check := func(j *Journal) {
				t.Helper()
				if got := j.Outstanding(0, 10); len(got) != 2 || got[0].Position != p.Position || got[1].Key != c {
					t.Errorf("outstanding %+v", got)
				}
				rs, err := j.Read(p.Position, m.Position, a.Position)
				if err != nil || len(rs) != 2 || string(rs[0].Op.Payload) != `{"n":2}` || rs[1].Op.Messages[0].ID != "m3" {
					t.Errorf("read %+v, %v", rs, err)
				}
				if rs, err := j.Known(c); err != nil || len(rs) != 1 || rs[0].Position != m.Position {
					t.Errorf("known %+v, %v", rs, err)
				}
				if !j.HasPending(k) || j.PendingCount() != 2 || !j.ExpiresAt(k).Equal(a.Op.ExpiresAt) {
					t.Error("pending, expiry")
				}
				n := 0
				if err := j.Scan(context.Background(), 0, j.Position(), func(*Record) error { n++; return nil }); err != nil || n != 3 {
					t.Errorf("scan %d, %v", n, err)
				}
			}
			check(j)
			closeTest(t, j)
			if inMemory {
				return
			}
			again := openTest(t, o)
			check(again)
			if again.Identity() != j.Identity() || again.Position() <= m.Position {
				t.Errorf("identity %s, position %x", again.Identity(), again.Position())
			}
			appendTest(t, again, &Record{Kind: Resolved, Resolves: []Position{p.Position, m.Position}})
			if again.PendingCount() != 0 || again.HasPending(k) {
				t.Error("still pending")
			}
		})
	}
}

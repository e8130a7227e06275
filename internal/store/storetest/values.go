package storetest

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

func testValues(t *testing.T, s *suite) {
	t.Run("missing", func(t *testing.T) {
		if r := s.get(t, s.newValue(t)); r.Found || r.Live() || r.Generation != 0 {
			t.Errorf("a key that was never set reads %+v", r)
		}
	})
	t.Run("the higher version stays", s.lastWriterWins)
	t.Run("equal versions", s.equalVersions)
	t.Run("a generation beats a version", s.generationBeatsVersion)
	t.Run("tombstones", s.tombstones)
	t.Run("what is stored comes back", s.roundTrips)
	t.Run("versions ahead are refused", s.aheadValues)
	t.Run("expired operations are skipped", s.expiredValues)
	t.Run("results", s.valueResults)
}

func (s *suite) lastWriterWins(t *testing.T) {
	for _, mode := range []store.Mode{store.Live, store.Merge} {
		k, v := s.newValue(t), s.versions(3)
		op := func(i int, payload string) store.Op {
			op := set(k, v[i], payload)
			op.Mode = mode
			return op
		}
		s.must(t, op(1, "one"), store.Applied)
		if res := s.must(t, op(0, "zero"), store.Superseded); res.Version != v[1] {
			t.Errorf("superseded by %s, want %s", res.Version, v[1])
		}
		s.wantValue(t, k, "one")
		if res := s.must(t, op(2, "two"), store.Applied); res.Version != v[2] {
			t.Errorf("applied as %s, want %s", res.Version, v[2])
		}
		s.wantValue(t, k, "two")
		if r := s.get(t, k); r.Value.Version != v[2] {
			t.Errorf("version %s, want %s", r.Value.Version, v[2])
		}
	}
	// The instance part decides between readings of one instant.
	k := s.newValue(t)
	v := s.clock.Now()
	higher := v.Next(v.Node() + 1)
	s.must(t, set(k, higher, "higher node"), store.Applied)
	s.must(t, set(k, v, "lower node"), store.Superseded)
	s.wantValue(t, k, "higher node")
}

func (s *suite) equalVersions(t *testing.T) {
	k, v := s.newValue(t), s.versions(1)[0]
	op := set(k, v, "same")
	first := s.must(t, op, store.Applied)
	again := s.must(t, op, store.Unchanged)
	if again.Version != v || !near(again.ExpiresAt, first.ExpiresAt) {
		t.Errorf("repeated: %s until %v, want %s until %v", again.Version, again.ExpiresAt, v, first.ExpiresAt)
	}
	other := set(k, v, "other")
	if res := s.must(t, other, store.Conflict); res.Version != v {
		t.Errorf("conflict with %s, want %s", res.Version, v)
	}
	flagged := op
	flagged.Flags = record.Zstd
	s.must(t, flagged, store.Conflict)
	s.must(t, tombstone(k, v), store.Conflict)
	s.wantValue(t, k, "same")
	s.must(t, set(k, v, "sam"), store.Conflict)
	s.must(t, set(k, v, "same "), store.Conflict)
}

func (s *suite) generationBeatsVersion(t *testing.T) {
	k, v := s.newValue(t), s.versions(3)
	s.must(t, under(set(k, v[2], "old generation"), 3), store.Applied)
	s.must(t, under(set(k, v[0], "new generation"), 4), store.Applied)
	s.wantValue(t, k, "new generation")
	s.raise(t, k.Org(), 4)
	if res := s.must(t, under(set(k, v[2], "late"), 3), store.Stale); res.Version != v[0] || res.Generation != 4 {
		t.Errorf("stale answers version %s and generation %d, want %s and 4", res.Version, res.Generation, v[0])
	}
	late := under(s.merged(set(k, v[2], "late")), 3)
	s.must(t, late, store.Stale)
	s.wantValue(t, k, "new generation")
	s.must(t, under(set(k, v[0], "new generation"), 5), store.Applied)
	if r := s.get(t, k); r.Value.Generation != 5 || r.Value.Version != v[0] {
		t.Errorf("applied again under generation 5: %d, version %s", r.Value.Generation, r.Value.Version)
	}
	// Large generations are numbers, not texts or floats.
	s.must(t, under(set(k, v[0], "large"), 1<<52), store.Applied)
	s.must(t, under(set(k, v[1], "larger"), 1<<52+1), store.Applied)
	s.must(t, under(set(k, v[2], "large again"), 1<<52), store.Stale)
	s.must(t, under(set(k, v[2], "nine"), 9), store.Stale)
	s.wantValue(t, k, "larger")
}

func (s *suite) tombstones(t *testing.T) {
	k, v := s.newValue(t), s.versions(4)
	s.must(t, set(k, v[0], "value"), store.Applied)
	s.must(t, tombstone(k, v[2]), store.Applied)
	r := s.get(t, k)
	if !r.Found || r.Live() || !r.Value.IsTombstone() || r.Value.Version != v[2] {
		t.Errorf("deleted: %+v, want a tombstone of %s", r, v[2])
	}
	if res := s.must(t, set(k, v[1], "late"), store.Superseded); res.Version != v[2] {
		t.Errorf("superseded by %s, want the tombstone's %s", res.Version, v[2])
	}
	s.wantValue(t, k, "")
	s.must(t, tombstone(k, v[2]), store.Unchanged)
	s.must(t, set(k, v[3], "again"), store.Applied)
	s.wantValue(t, k, "again")
	never := s.newValue(t)
	s.must(t, tombstone(never, v[1]), store.Applied)
	s.must(t, set(never, v[0], "late"), store.Superseded)
}

func (s *suite) roundTrips(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	text := bytes.Repeat([]byte(`{"role":"user","content":"Is the red one still there?"},`), 20_000)
	noise := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(noise) // never fails
	for _, c := range []struct {
		name      string
		payload   []byte
		threshold int
	}{
		{"empty", nil, -1},
		{"every byte", all, -1},
		{"separators", []byte("|00000000|\r\n|%7C|{}:*"), -1},
		{"compressed, one MiB of text", text, 1024},
		{"one MiB of noise", noise, 1024},
		{"not compressed, one MiB", text, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, v := s.newValue(t), s.versions(1)[0]
			stored, flags := record.Compress(c.payload, c.threshold)
			before := bytes.Clone(stored)
			op := store.Op{Action: store.Set, Key: k, Version: v, TTL: life, Flags: flags, Payload: stored}
			s.must(t, op, store.Applied)
			s.must(t, op, store.Unchanged)
			r := s.get(t, k)
			if r.Value.Flags != flags || !bytes.Equal(r.Value.Stored, stored) {
				t.Fatalf("%d bytes with flags %02x were stored, %d with %02x come back", len(stored), flags, len(r.Value.Stored), r.Value.Flags)
			}
			if got, err := r.Value.Payload(); err != nil || !bytes.Equal(got, c.payload) {
				t.Errorf("payload: %d bytes, %v; want %d bytes", len(got), err, len(c.payload))
			}
			if !bytes.Equal(stored, before) {
				t.Error("the payload that was passed in was changed")
			}
		})
	}
}

func (s *suite) aheadValues(t *testing.T) {
	k := s.newValue(t)
	now := s.storeTime(t)
	ahead := clock.NewVersion(now.Add(clock.MaxAhead+5*time.Second).UnixMilli(), 0, 1)
	for _, op := range []store.Op{set(k, ahead, "ahead"), tombstone(k, ahead), s.merged(set(k, ahead, "ahead"))} {
		s.must(t, op, store.Ahead)
	}
	conditional := set(k, ahead, "ahead")
	conditional.If = store.Condition{Kind: store.IfVersion, Version: s.clock.Now()}
	s.must(t, conditional, store.Ahead)
	if r := s.get(t, k); r.Found {
		t.Errorf("a refused version was stored: %+v", r)
	}
	within := clock.NewVersion(now.Add(clock.MaxAhead-5*time.Second).UnixMilli(), 0, 1)
	s.must(t, set(k, within, "within"), store.Applied)
	s.wantValue(t, k, "within")
	historic := clock.Historic(now, 1)
	s.must(t, set(s.newValue(t), historic, "load"), store.Applied)
}

func (s *suite) expiredValues(t *testing.T) {
	k, v := s.newValue(t), s.versions(2)
	s.must(t, set(k, v[0], "value"), store.Applied)
	for _, ago := range []time.Duration{10 * time.Millisecond, time.Second, 24 * time.Hour} {
		op := s.merged(set(k, v[1], "past"))
		op.ExpiresAt = s.storeTime(t).Add(-ago)
		s.must(t, op, store.Expired)
		op.Flags, op.Payload = record.Tombstone, nil
		s.must(t, op, store.Expired)
	}
	s.wantValue(t, k, "value")
}

func (s *suite) valueResults(t *testing.T) {
	k, v := s.newValue(t), s.versions(3)
	before := s.storeTime(t)
	first := s.must(t, set(k, v[1], "value"), store.Applied)
	if first.StoreTime.Before(before) || first.StoreTime.After(before.Add(callTime)) {
		t.Errorf("store time %v after %v", first.StoreTime, before)
	}
	if !near(first.ExpiresAt, first.StoreTime.Add(life)) {
		t.Errorf("expires at %v, want %v after %v", first.ExpiresAt, life, first.StoreTime)
	}
	if res := s.must(t, set(k, v[0], "late"), store.Superseded); !near(res.ExpiresAt, first.ExpiresAt) {
		t.Errorf("superseded: expires at %v, want that of what is stored, %v", res.ExpiresAt, first.ExpiresAt)
	}
	at := s.merged(set(k, v[2], "until"))
	at.ExpiresAt = first.StoreTime.Add(17 * time.Minute).Truncate(time.Millisecond)
	if res := s.must(t, at, store.Applied); !near(res.ExpiresAt, at.ExpiresAt) {
		t.Errorf("expires at %v, want %v", res.ExpiresAt, at.ExpiresAt)
	}
	if g := s.must(t, at, store.Unchanged).Generation; g != 0 {
		t.Errorf("generation %d, want 0", g)
	}
	s.raise(t, k.Org(), 7)
	if g := s.must(t, at, store.Unchanged).Generation; g != 7 {
		t.Errorf("generation %d, want the organisation's 7", g)
	}
}

// near compares times as stores keep them.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= precision }

package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// A deletion works where there is no memory for writes; that a loader found nothing is
// not remembered then: whoever asks for what is not there would fill the server.
func TestAbsenceWithoutMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openNode(t, server.Addr())
	if _, err := server.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	op := store.Op{
		Action: store.Set, Key: s.opts.Space.Key("agentConfig", mustOrg(t, "a"), keys.NoID), TTL: time.Hour,
		Flags: record.Tombstone, Version: clock.Absence(1), If: store.Condition{Kind: store.IfSeen},
	}
	if r, err := s.Apply(t.Context(), op); !errors.Is(err, store.ErrFull) {
		t.Errorf("absence: %+v, %v; want ErrFull", r, err)
	}
	op.Version, op.If = clock.New(nil, 1, nil).Now(), store.Condition{}
	if r, err := s.Apply(t.Context(), op); err != nil || r.Status != store.Applied {
		t.Errorf("deletion: %+v, %v", r, err)
	}
}

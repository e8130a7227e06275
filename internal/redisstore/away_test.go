package redisstore_test

import (
	"errors"
	"testing"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// TestAway: a store tells beforehand with what it would refuse a write, while its server
// does not answer, and only then.
func TestAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openKnown(t, redisstore.Options{Space: devSpace(t), Addrs: []string{server.Addr()}})
	k := devSpace(t).Key("agentConfig", keys.Org{}, keys.ID{})
	if err := s.Away(k); err != nil {
		t.Errorf("it serves: %v", err)
	}
	server.Kill()
	await(t, "it is known to be away", func() bool { return s.Away(k) != nil })
	told, asked := s.Away(k), write(t, s, "away")
	if !errors.Is(told, store.ErrUnavailable) || errors.Is(told, store.ErrUnknown) || asked == nil || told.Error() != asked.Error() {
		t.Errorf("told %v; asked it answers %v", told, asked)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Away(k); err != nil {
		t.Errorf("closed: %v", err)
	}
}

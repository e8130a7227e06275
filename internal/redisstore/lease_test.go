package redisstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
)

// What somebody else put in the place of a lease keeps nobody from loading for
// longer than it lives, and a server that cannot say whose the lease is says so.
func TestLeaseOverSomethingElse(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openWith(t, redisstore.Options{Addrs: []string{server.Addr()}, Space: devSpace(t)})
	o, err := keys.ParseOrg("org-1")
	if err != nil {
		t.Fatal(err)
	}
	k := devSpace(t).Key("agentConfig", o, keys.NoID)
	name, token := devSpace(t).Load(k), store.LoadToken(store.Read{}, "me")
	if a, b := redistest.Slot(name), redistest.Slot(k.String()); a != b {
		t.Errorf("the lease is in slot %d, the key in %d", a, b)
	}
	set := func(args ...string) {
		t.Helper()
		for _, cmd := range [][]string{{"DEL", name}, args} {
			if _, err := server.Do(cmd...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, c := range map[string]struct {
		there []string
		held  bool
		err   error
	}{
		"nothing":            {[]string{"PING"}, true, nil},
		"without an end":     {[]string{"SET", name, "zzz"}, true, nil},
		"no token":           {[]string{"SET", name, "zzz", "PX", "60000"}, false, nil},
		"a token of no miss": {[]string{"SET", name, "", "PX", "60000"}, true, nil},
		"of another type":    {[]string{"RPUSH", name, "x"}, false, store.ErrRejected},
	} {
		set(c.there...)
		held, left, err := s.LeaseLoad(t.Context(), k, token, time.Minute)
		if held != c.held || !errors.Is(err, c.err) || !held && err == nil && left <= 0 {
			t.Errorf("%s: held %v, left %v, %v; want held %v, %v", what, held, left, err, c.held, c.err)
		}
		if err := s.ReleaseLoad(t.Context(), k, token); !errors.Is(err, c.err) {
			t.Errorf("%s: released, %v; want %v", what, err, c.err)
		}
		if n, err := server.Do("EXISTS", name); err != nil || (n == "0") != c.held {
			t.Errorf("%s: after the release there are %s, %v", what, n, err)
		}
	}
	set("CONFIG", "SET", "maxmemory", "1")
	if _, _, err := s.LeaseLoad(t.Context(), k, token, time.Minute); !errors.Is(err, store.ErrFull) {
		t.Errorf("without memory: %v, want %v", err, store.ErrFull)
	}
	set("CONFIG", "SET", "maxmemory", "0")
	server.Freeze()
	defer server.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.LeaseLoad(ctx, k, token, time.Minute); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("of a frozen server: %v, want %v", err, store.ErrUnavailable)
	}
}

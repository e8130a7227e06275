package redisstore_test

import (
	"testing"
	"time"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/redisstore"
	"github.com/jackcache/jackcache/internal/redistest"
	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

func open(t testing.TB, addr string, space keys.Space) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), redisstore.Options{
		Space: space, Mode: redisstore.Standalone, Addrs: []string{addr}, Connections: 1, InFlight: 2048, Timeout: time.Second,
		Clock: clock.New(nil, 1, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := redistest.Start(t)
	storetest.Run(t, func(t *testing.T, env storetest.Env) store.Store {
		return open(t, server.Addr(), env.Space)
	})
}

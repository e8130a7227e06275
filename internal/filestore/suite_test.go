package filestore

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// TestStore runs the suite that every store passes.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, env storetest.Env) store.Store {
		path := filepath.Join(t.TempDir(), "store.db")
		s, err := Open(path, Options{Space: env.Space})
		if err != nil {
			t.Fatal(err)
		}
		return suiteStore{Store: s, t: t, env: env}
	})
}

// suiteStore checks the file when the suite closes it.
type suiteStore struct {
	*Store
	t   *testing.T
	env storetest.Env
}

func (s suiteStore) Close(ctx context.Context) error {
	err := s.Store.Close(ctx)
	if err == nil {
		checkInvariants(s.t, s.path, s.env.Space)
	}
	return err
}

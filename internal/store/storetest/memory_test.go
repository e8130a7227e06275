package storetest

import (
	"testing"

	"github.com/jackcache/jackcache/internal/store"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T, Env) store.Store { return NewMemory(nil) })
}

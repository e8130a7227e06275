package carry

import (
	"testing"

	"github.com/jackcache/jackcache/internal/store"
	"github.com/jackcache/jackcache/internal/store/storetest"
)

// While it carries over, and afterwards, the leases are those of the target.
func TestLeasesAreThoseOfTheTarget(t *testing.T) {
	target := storetest.NewMemory(nil)
	if l := store.LeaserOf(&Store{Shared: target}); l != store.Leaser(target) {
		t.Errorf("the leases are those of %v", l)
	}
}

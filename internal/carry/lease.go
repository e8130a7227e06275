package carry

import "github.com/jackcache/jackcache/internal/store"

// Unwrap returns the target, for what is not refused while the carry-over is
// under way. Nobody loads together then: a read comes before, and is refused.
func (s *Store) Unwrap() store.Shared { return s.Shared }

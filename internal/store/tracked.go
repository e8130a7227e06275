package store

// TrackedOf returns the Tracked store that a store is, or that it stands in front
// of, as its method Unwrap tells; nil: nobody is told of changes.
func TrackedOf(s Store) Tracked {
	for {
		if t, ok := s.(Tracked); ok {
			return t
		}
		w, ok := s.(interface{ Unwrap() Shared })
		if !ok {
			return nil
		}
		s = w.Unwrap()
	}
}

package journal

// slab keeps items without pointers in chunks that never move, so that millions
// of them cost the garbage collector nothing and growing copies nothing. The
// zero slab is empty.
type slab[T any] struct {
	chunks [][]T
	unused []int32
	next   int32
}

const slabChunk = 1 << 12

func (s *slab[T]) at(i int32) *T { return &s.chunks[i/slabChunk][i%slabChunk] }

// add returns the place of a new item.
func (s *slab[T]) add(item T) int32 {
	i := s.next
	if n := len(s.unused); n > 0 {
		i, s.unused = s.unused[n-1], s.unused[:n-1]
	} else {
		if int(i/slabChunk) == len(s.chunks) {
			s.chunks = append(s.chunks, make([]T, slabChunk))
		}
		s.next++
	}
	*s.at(i) = item
	return i
}

// remove makes the place free for another item.
func (s *slab[T]) remove(i int32) {
	var zero T
	*s.at(i) = zero
	s.unused = append(s.unused, i)
}

// len returns how many items there are.
func (s *slab[T]) len() int { return int(s.next) - len(s.unused) }

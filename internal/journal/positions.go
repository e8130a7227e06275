package journal

import (
	"slices"
	"sort"
)

// positions is a list of positions in order, some of which may be dead: they are
// removed once they are half of it.
type positions struct {
	list []Position
	dead int
}

func (l *positions) add(p Position) { l.list = append(l.list, p) }

// drop notes that one of the positions died. alive tells them apart. The first
// one that is left is alive.
func (l *positions) drop(alive func(Position) bool) {
	l.dead++
	for len(l.list) > 0 && !alive(l.list[0]) {
		l.list = l.list[1:]
		l.dead--
	}
	if l.dead <= 32 || 2*l.dead < len(l.list) {
		return
	}
	l.list = slices.DeleteFunc(slices.Clone(l.list), func(p Position) bool { return !alive(p) })
	l.dead = 0
}

// after returns those after p.
func (l *positions) after(p Position) []Position {
	return l.list[sort.Search(len(l.list), func(i int) bool { return l.list[i] > p }):]
}

// copyTo returns a copy of those up to and including p.
func (l *positions) copyTo(p Position) []Position {
	return slices.Clone(l.list[:sort.Search(len(l.list), func(i int) bool { return l.list[i] > p })])
}

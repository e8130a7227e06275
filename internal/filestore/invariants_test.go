package filestore

import (
	"bytes"
	"fmt"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
)

// checkInvariants reads a file that is closed and checks what every operation
// must keep: the pages are bbolt's, each row belongs to one that names it, and
// the heads count right. It runs after every test.
func checkInvariants(t testing.TB, path string, space keys.Space) {
	t.Helper()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // opened for reading
	n := newNames(space)
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("pages: %v", err)
		}
		k := checker{t: t, tx: tx, names: n}
		if tx.Bucket(n.organisations) == nil {
			return nil // of another environment only
		}
		k.rows("", tx.Bucket(n.directory))
		if err := tx.Bucket(n.organisations).ForEachBucket(func(org []byte) error {
			k.rows(string(org), tx.Bucket(n.organisations).Bucket(org))
			return nil
		}); err != nil {
			return err
		}
		count, _ := number(tx.Bucket(metaBucket).Get(n.keyCount))
		if k.keys != int64(count) {
			t.Errorf("%d keys are counted as %d", k.keys, count)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

type checker struct {
	names
	t    testing.TB
	tx   *bbolt.Tx
	keys int64
}

func (k *checker) rows(org string, b *bbolt.Bucket) {
	last := ""
	cur := b.Cursor()
	for name, v := cur.First(); name != nil; name, v = cur.Next() {
		base, kind, err := splitRow(name)
		if err != nil {
			k.t.Error(err)
			continue
		}
		a := address{org: org, base: base}
		if _, err := k.key(a); err != nil {
			k.t.Error(err)
		}
		switch kind {
		case rowValue:
			k.keys++
			val, err := parseValue(v)
			if err != nil {
				k.t.Errorf("%q: %v", name, err)
			}
			k.scheduled(a, name, val.due, val.expires)
		case rowHead:
			k.keys++
			last = base
			k.conversation(b, a, v)
		default:
			if base != last {
				k.t.Errorf("row %q without a head", name)
			}
		}
	}
}

// scheduled checks that the sweep comes by in time.
func (k *checker) scheduled(a address, row []byte, due, expires int64) {
	if due == 0 || due > expires || k.tx.Bucket(k.due).Get(dueName(due, a.org, row)) == nil {
		k.t.Errorf("%q ends at %d and is not due then but at %d", row, expires, due)
	}
}

func (k *checker) conversation(b *bbolt.Bucket, a address, v []byte) {
	h, err := parseHead(v)
	if err != nil {
		k.t.Errorf("%q: %v", a.base, err)
		return
	}
	k.scheduled(a, a.row(rowHead), h.due, max(h.expires, h.floorUntil))
	if h.expires == 0 {
		return // ended by a new generation: its rows wait for the sweep
	}
	count := head{}
	places := make(map[record.Order]string)
	k.each(b, a, rowID, func(id, v []byte) {
		count.ids++
		count.messages += k.id(b, a, h, string(id), v, places)
	})
	k.each(b, a, rowOrder, func(order, id []byte) {
		o, err := record.ParseOrder(order)
		if err != nil || places[o] != string(id) {
			k.t.Errorf("%q: order %s of %q, which has it as %q, %v", a.base, order, id, places[o], err)
		}
		delete(places, o)
	})
	if len(places) > 0 {
		k.t.Errorf("%q: orders without a row: %v", a.base, places)
	}
	messages := int64(0)
	k.each(b, a, rowMessage, func(_, v []byte) {
		messages++
		count.bytes += int64(len(v))
		m, err := record.ParseMessage(v)
		if err != nil || m.Generation != h.generation || m.Arrival <= 0 || m.Arrival > h.lastArrival {
			k.t.Errorf("%q: message %+v, %v", a.base, m, err)
		}
	})
	if count.messages != h.messages || messages != h.messages || count.bytes != h.bytes || count.ids != h.ids {
		k.t.Errorf("%q: %d (%d) messages, %d bytes, %d ids, the head says %+v", a.base, messages, count.messages, count.bytes, count.ids, h)
	}
}

// id checks the rows of one message id. It returns 1 if it stands in the list.
func (k *checker) id(b *bbolt.Bucket, a address, h head, id string, v []byte, all map[record.Order]string) (listed int64) {
	ps, err := parsePlaces(v)
	if err != nil || len(ps) == 0 || len(ps) > maxPlaces {
		k.t.Errorf("%q: %q has orders %v, %v", a.base, id, ps, err)
		return 0
	}
	holders := make(map[digest]bool)
	for i, p := range ps {
		all[p.order] = id
		if p.order.Version.Compare(h.floor) < 0 {
			k.t.Errorf("%q: %q has an order below the floor", a.base, id)
		}
		inWindow := p.order.Compare(h.trimmedTo) > 0
		message, spare := b.Get(a.orderRow(rowMessage, p.order)), b.Get(a.orderRow(rowSpare, p.order))
		if (message != nil) != (i == 0 && inWindow) {
			k.t.Errorf("%q: %q at %s of %v, trimmed to %s: in the list %v", a.base, id, p.order, ps, h.trimmedTo, message != nil)
		}
		if spare != nil && (i == 0 || !inWindow || holders[p.digest]) {
			k.t.Errorf("%q: %q at %s keeps a content that is not needed", a.base, id, p.order)
		}
		if message != nil {
			listed = 1
		}
		holders[p.digest] = holders[p.digest] || message != nil || spare != nil
	}
	return listed
}

func (k *checker) each(b *bbolt.Bucket, a address, kind byte, fn func(rest, v []byte)) {
	prefix := a.row(kind)
	cur := b.Cursor()
	for name, v := cur.Seek(prefix); bytes.HasPrefix(name, prefix); name, v = cur.Next() {
		fn(name[len(prefix):], v)
	}
}

// TestInvariants: the check itself finds what it is for.
func TestInvariants(t *testing.T) {
	f := newFixture(t)
	f.apply(f.append(f.talk("a", "1"), "a", "b"), 1)
	f.damaged = true
	a, _ := f.names.address(f.talk("a", "1"))
	f.change(func(tx *bbolt.Tx) error { return rowsOf(tx, f.names, "a").Delete(a.idRow("a")) })
	f.close()
	found := &recorder{TB: t}
	checkInvariants(found, f.path, f.space)
	if found.errors == 0 {
		t.Error("a row is missing and nobody noticed")
	}
}

// recorder counts errors instead of failing.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Errorf(format string, args ...any) { r.errors++; _ = fmt.Sprintf(format, args...) }
func (r *recorder) Error(...any)                      { r.errors++ }

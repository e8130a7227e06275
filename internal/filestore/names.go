package filestore

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// The byte that says what a row is. A conversation's head comes before its
// other rows, so that a walk over keys meets it first.
const (
	rowHead    = 'c'
	rowID      = 'i'
	rowMessage = 'm'
	rowOrder   = 'o'
	rowSpare   = 's'
	rowValue   = 'v'
)

// afterRows is higher than every row of a key.
const afterRows = 0xff

// Names of buckets and of rows in meta.
var (
	metaBucket = []byte("meta")
	formatRow  = []byte("format")
	cleanRow   = []byte("clean")
)

// names are the buckets of one environment.
type names struct {
	space                                                keys.Space
	generations, organisations, directory, due, sweeping []byte
	keyCount                                             []byte // row of meta
}

func newNames(sp keys.Space) names {
	p := sp.Prefix()
	return names{
		space:         sp,
		generations:   []byte(p + "generations"),
		organisations: []byte(p + "organisations"),
		directory:     []byte(p + "directory"),
		due:           []byte(p + "due"),
		sweeping:      []byte(p + "sweeps"),
		keyCount:      []byte("keys:" + p),
	}
}

// address says where the rows of a key are.
type address struct {
	org  string // as given; empty for the directory
	base string // <type>:<id>00
}

// row returns the name of one of the key's rows.
func (a address) row(kind byte, rest ...byte) []byte {
	b := make([]byte, 0, len(a.base)+1+len(rest))
	b = append(b, a.base...)
	b = append(b, kind)
	return append(b, rest...)
}

func (a address) orderRow(kind byte, o record.Order) []byte {
	b := make([]byte, 0, len(a.base)+1+record.OrderLen)
	b = append(b, a.base...)
	b = append(b, kind)
	return o.Append(b)
}

func (a address) idRow(id string) []byte { return a.row(rowID, []byte(id)...) }

// address refuses keys of another environment.
func (n names) address(k keys.Key) (address, error) {
	rest, ok := strings.CutPrefix(k.String(), n.stem(k.Type(), k.Org()))
	if !ok || k.String() == "" {
		return address{}, fmt.Errorf("%w: key %q does not belong to %s", store.ErrRejected, k, n.space.Prefix())
	}
	id := strings.TrimPrefix(rest, ":")
	return address{org: k.Org().String(), base: string(k.Type()) + ":" + id + "\x00"}, nil
}

// stem is what the keys of a type and an organisation start with.
func (n names) stem(t keys.Type, o keys.Org) string { return n.space.Key(t, o, keys.NoID).String() }

// key is the inverse of address.
func (n names) key(a address) (keys.Key, error) {
	typ, id, ok := strings.Cut(strings.TrimSuffix(a.base, "\x00"), ":")
	if !ok {
		return keys.Key{}, fmt.Errorf("%w: row %q", store.ErrCorrupt, a.base)
	}
	var org keys.Org
	if a.org != "" {
		var err error
		if org, err = keys.ParseOrg(a.org); err != nil {
			return keys.Key{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		if id != "" {
			id = ":" + id
		}
	}
	k, err := n.space.Parse(n.stem(keys.Type(typ), org) + id)
	if err != nil {
		return keys.Key{}, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return k, nil
}

// splitRow returns the base of a row's name and what kind of row it is.
func splitRow(name []byte) (base string, kind byte, err error) {
	i := bytes.IndexByte(name, 0)
	if i < 0 || i+1 >= len(name) {
		return "", 0, fmt.Errorf("%w: row %q", store.ErrCorrupt, name)
	}
	return string(name[:i+1]), name[i+1], nil
}

// orgName is the name of an organisation's row: bbolt has no empty names, and
// an organisation has no control characters.
func orgName(org string) []byte {
	if org == "" {
		return []byte{0}
	}
	return []byte(org)
}

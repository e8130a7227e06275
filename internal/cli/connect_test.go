package cli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
)

// A store is made only where no server was named.
func TestMayOpen(t *testing.T) {
	const addr = "JACKCACHE_ADDR"
	for _, tt := range []struct {
		name   string
		values map[string]string
		need   need
		want   string // part of the error; empty: none
	}{
		{"import, no server named", nil, anyStore, ""},
		{"import, server named", map[string]string{addr: "127.0.0.1:1"}, anyStore, "unset JACKCACHE_ADDR"},
		{"reading, server named", map[string]string{addr: "127.0.0.1:1"}, existing, "unset JACKCACHE_ADDR"},
		{"reading, no server named", nil, existing, "jackcache serve"},
		{"Redis", map[string]string{addr: "127.0.0.1:1", "REDIS_HOST": "h"}, anyStore, ""},
	} {
		s, p, err := load(layer{name: envLayer, values: tt.values})
		if err := errors.Join(err, p.err()); err != nil {
			t.Fatal(err)
		}
		err = s.mayOpen(tt.need, "http://127.0.0.1:1", t.TempDir())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestPlainErrors(t *testing.T) {
	for want, err := range map[string]error{
		"invalid input: x":     fmt.Errorf("invalid input: %w: %w: x", jackcache.ErrInvalid, jackcache.ErrInvalid),
		"open: store is full":  fmt.Errorf("open: %w", jackcache.ErrFull),
		"other: jackcache: no": errors.New("other: jackcache: no"),
	} {
		if got := plain(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&apiError{Status: http.StatusUnauthorized}, true},
		{&apiError{Status: http.StatusForbidden}, true},
		{&apiError{Status: http.StatusServiceUnavailable}, true},
		{&apiError{Status: http.StatusServiceUnavailable, Report: []byte("{}")}, false},
		{&apiError{Status: http.StatusBadGateway}, false},
		{errHungUp, false},
	} {
		if got := refused(tt.err); got != tt.want {
			t.Errorf("refused(%v) = %v", tt.err, got)
		}
	}
	if c := (&client{base: "http://jackcache", name: "the store in d"}); strings.Contains(notReached(c.String(), errHungUp).Error(), "http://") {
		t.Error("the internal URL is told")
	}
}

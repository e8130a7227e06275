package redisstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/keys"
)

// message is a reply of a server: int, string, error, nil, or []any of these.
func message(t testing.TB, v any) rueidis.RedisMessage {
	t.Helper()
	var m rueidis.RedisMessage
	// The client reads replies from its own format only; see RedisMessage.CacheMarshal.
	if err := m.CacheUnmarshalView(appendReply(make([]byte, 7), v)); err != nil {
		t.Fatal(err)
	}
	return m
}

func appendReply(b []byte, v any) []byte {
	head := func(typ byte, n int) []byte { return binary.BigEndian.AppendUint64(append(b, typ), uint64(n)) }
	switch v := v.(type) {
	case nil:
		return head('_', 0)
	case int:
		return head(':', v)
	case string:
		return append(head('$', len(v)), v...)
	case error:
		return append(head('-', len(v.Error())), v.Error()...)
	case []any:
		b = head('*', len(v))
		for _, e := range v {
			b = appendReply(b, e)
		}
		return b
	}
	panic(fmt.Sprintf("a reply of %T", v))
}

// refusal is an error that a server answers.
func refusal(t testing.TB, text string) error {
	t.Helper()
	m := message(t, errors.New(text))
	return m.Error()
}

func TestRedirected(t *testing.T) {
	asked := &node{addr: "10.0.0.9:7000"}
	for text, want := range map[string]struct {
		redirection
		addr string
	}{
		"MOVED 3999 127.0.0.1:6381":                               {redirection{slot: 3999, host: "127.0.0.1", port: "6381"}, "127.0.0.1:6381"},
		"MOVED 0 redis-1.example:6379":                            {redirection{host: "redis-1.example", port: "6379"}, "redis-1.example:6379"},
		"ASK 16383 127.0.0.1:6381":                                {redirection{slot: 16383, host: "127.0.0.1", port: "6381", ask: true}, "127.0.0.1:6381"},
		"MOVED 5 2001:db8::1:6379":                                {redirection{slot: 5, host: "2001:db8::1", port: "6379"}, "[2001:db8::1]:6379"},
		"MOVED 5 [2001:db8::1]:6379":                              {redirection{slot: 5, host: "2001:db8::1", port: "6379"}, "[2001:db8::1]:6379"},
		"ASK 5 ::1:6379":                                          {redirection{slot: 5, host: "::1", port: "6379", ask: true}, "[::1]:6379"},
		"MOVED 5 :6379":                                           {redirection{slot: 5, port: "6379"}, "10.0.0.9:6379"}, // at the one that was asked
		"TRYAGAIN Multiple keys request during rehashing of slot": {redirection{tryAgain: true}, ""},
	} {
		got, ok := redirected(refusal(t, text))
		if !ok || got != want.redirection {
			t.Errorf("%q: %+v, %v; want %+v", text, got, ok, want.redirection)
		}
		if addr := got.addr(asked); want.addr != "" && addr != want.addr {
			t.Errorf("%q leads to %q, want %q", text, addr, want.addr)
		}
	}
	for _, text := range []string{
		"", "MOVED", "MOVED 5", "MOVED 5 ", "MOVED x 127.0.0.1:1", "MOVED 16384 127.0.0.1:1", "MOVED -1 127.0.0.1:1", "MOVED 99999999999999999999 a:1",
		"MOVED 5 127.0.0.1", "MOVED 5 127.0.0.1:", "MOVED 5 127.0.0.1:port", "MOVED 5 127.0.0.1:0", "MOVED 5 127.0.0.1:65536", "MOVED 5 a:1 b:2",
		"moved 5 a:1", "MOVEDON 5 a:1", "ASKING 5 a:1", "ERR unknown command", "LOADING Redis is loading the dataset in memory",
	} {
		if got, ok := redirected(refusal(t, text)); ok || got != (redirection{}) {
			t.Errorf("%q: %+v, %v; want none", text, got, ok)
		}
	}
	for _, err := range []error{nil, errors.New("MOVED 5 127.0.0.1:1"), rueidis.Nil} {
		if got, ok := redirected(err); ok {
			t.Errorf("%v, which no server answered: %+v", err, got)
		}
	}
}

// Whatever a server answers, a redirection has a slot that exists and leads to
// an address that can be dialled.
func FuzzRedirected(f *testing.F) {
	for _, text := range []string{
		"MOVED 3999 127.0.0.1:6381", "ASK 16383 [::1]:6381", "MOVED 5 :6379", "MOVED 5", "MOVED 16384 a:1", "TRYAGAIN later", "ERR no", "", "ASK 1 ]:[:1", "MOVED 1 ?:1",
	} {
		f.Add(text)
	}
	asked := &node{addr: "10.0.0.9:7000"}
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := redirected(refusal(t, text))
		if !ok || r.tryAgain {
			return
		}
		if r.slot < 0 || r.slot >= slotCount {
			t.Errorf("%q: slot %d", text, r.slot)
		}
		host, port, err := net.SplitHostPort(r.addr(asked))
		if err != nil || host == "" {
			t.Fatalf("%q leads to %q: %v", text, r.addr(asked), err)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			t.Errorf("%q: port %q", text, port)
		}
	})
}

// The slots are those of CLUSTER KEYSLOT.
func TestSlotOf(t *testing.T) {
	for key, want := range map[string]int{
		"": 0, "foo": 12182, "bar": 5061, "123456789": 12739, "hello": 866,
		"{foo}bar": 12182, "bar{foo}": 12182, "{foo}{bar}": 12182, "foo{bar}{zap}": 5061, // the first braces
		"foo{}{bar}": 8363, "foo{{bar}}zap": 4015, // nothing between them: the whole; the first end
		"{user1000}.following": 3443, "{user1000}.followers": 3443,
	} {
		if got := slotOf(key); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
}

func TestLayout(t *testing.T) {
	a, b, idle, other := &node{addr: "a"}, &node{addr: "b"}, &node{addr: "idle"}, &node{addr: "other"}
	slots := new([slotCount]uint16)
	for slot := range slots {
		switch {
		case slot < 100: // nobody
		case slot < 200:
			slots[slot] = 2
		default:
			slots[slot] = 1
		}
	}
	l := &layout{masters: []*node{a, b, idle}, slots: slots}
	if got := l.covered(); got != slotCount-100 {
		t.Errorf("covered: %d", got)
	}
	if got, want := l.parts(), []part{{b, 100}, {a, 200}}; !slices.Equal(got, want) {
		t.Errorf("parts: %v", got)
	}
	if l.node("foo") != a || l.serves(idle) || !l.serves(b) || !l.has(idle) || l.has(other) {
		t.Error("it does not say who serves what")
	}
	moved := l.with(slotOf("foo"), idle)
	if moved.node("foo") != idle || l.node("foo") != a || !moved.serves(idle) {
		t.Error("a slot that moved: it is served by the wrong one, or the former layout has changed")
	}
	if l.with(5, other) != l {
		t.Error("a slot moved to a node that is no master of the layout")
	}
	if low := l.with(5, a); low.node("foo") != a || low.covered() != l.covered()+1 {
		t.Error("a slot that nobody had was not taken")
	}
	none, one := &layout{}, &layout{masters: []*node{a}}
	if none.node("foo") != nil || none.parts() != nil || one.node("foo") != a || one.covered() != slotCount || one.with(1, a) != one {
		t.Error("no master, or one that has everything")
	}
}

func TestPosition(t *testing.T) {
	for _, p := range []position{{}, {slot: 16383, print: 1<<32 - 1, cursor: 1<<64 - 1}, {slot: 8, print: 0xab, cursor: 17}} {
		if got, err := parsePosition(p.String()); err != nil || got != p {
			t.Errorf("%v: %+v, %v", p, got, err)
		}
	}
	if got, err := parsePosition(""); err != nil || got != (position{}) {
		t.Errorf("the beginning: %+v, %v", got, err)
	}
	for _, text := range []string{"0", "1.2", "1.2.3.4", "-1.0.0", "1.-2.3", "1.2.-3", "1.2.3x", " 1.2.3", "01.2.3", "1.0x2.3", "1.AB.3", "x", "1.100000000.0", "0.0.18446744073709551616"} {
		if got, err := parsePosition(text); !errors.Is(err, keys.ErrInvalid) {
			t.Errorf("%q: %+v, %v; want ErrInvalid", text, got, err)
		}
	}
}

// The highest epoch is believed; among equals the address in use stays, so that
// the same server under two names does not make the master change all the time.
func TestBestSentinel(t *testing.T) {
	f := &sentinelFinder{}
	for name, test := range map[string]struct {
		answers map[string]sentinelAnswer
		known   []string
		want    string
	}{
		"epochs":                     {map[string]sentinelAnswer{"1": {"old:1", 3}, "2": {"new:1", 4}, "3": {"old:1", 3}}, nil, "new:1"},
		"an old one that is in use":  {map[string]sentinelAnswer{"1": {"old:1", 3}, "2": {"new:1", 4}}, []string{"old:1"}, "new:1"},
		"a tie":                      {map[string]sentinelAnswer{"1": {"b:1", 3}, "2": {"a:1", 3}}, nil, "a:1"},
		"a tie, one is in use":       {map[string]sentinelAnswer{"1": {"b:1", 3}, "2": {"a:1", 3}}, []string{"b:1"}, "b:1"},
		"a tie, another was in use":  {map[string]sentinelAnswer{"1": {"b:1", 3}, "2": {"a:1", 3}}, []string{"c:1"}, "a:1"},
		"a tie of epochs not known":  {map[string]sentinelAnswer{"1": {"b:1", 0}, "2": {"a:1", 0}}, []string{"b:1"}, "b:1"},
		"one in use with less epoch": {map[string]sentinelAnswer{"1": {"c:1", 2}, "2": {"a:1", 3}, "3": {"b:1", 3}}, []string{"c:1"}, "a:1"},
	} {
		for range 20 { // maps have no order
			if got := f.best(test.answers, test.known); got.addr != test.want {
				t.Fatalf("%s: %s, want %s", name, got.addr, test.want)
			}
		}
	}
}

func TestParseRange(t *testing.T) {
	const asked = "10.0.0.9:7000"
	server := func(host any, port int) []any { return []any{host, port, "id", []any{}} }
	for name, test := range map[string]struct {
		row  []any
		want []string
	}{
		"a master":              {[]any{0, 16383, server("10.0.0.1", 6379)}, []string{"10.0.0.1:6379"}},
		"with replicas":         {[]any{0, 16383, server("a", 1), server("b", 2)}, []string{"a:1", "b:2"}},
		"no more than it needs": {[]any{0, 16383, []any{"a", 1}}, []string{"a:1"}},
		"IPv6":                  {[]any{0, 16383, server("2001:db8::1", 1)}, []string{"[2001:db8::1]:1"}},
		"no host":               {[]any{0, 16383, server(nil, 1), server("", 2)}, []string{"10.0.0.9:1", "10.0.0.9:2"}},
		"a replica not named":   {[]any{0, 16383, server("a", 1), server("?", 2), server("c", 3)}, []string{"a:1", "c:3"}},
	} {
		got, err := parseRange(message(t, test.row), asked)
		if want := (slotRange{0, slotCount - 1, test.want}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	for name, test := range map[string]struct {
		row  any
		want string
	}{
		"nothing":               {nil, "not understood"},
		"no array":              {"0", "not understood"},
		"nobody":                {[]any{0, 1}, "not understood"},
		"no numbers":            {[]any{"a", "b", server("a", 1)}, "not understood"},
		"a slot too many":       {[]any{0, slotCount, server("a", 1)}, "not understood"},
		"a slot below":          {[]any{-1, 5, server("a", 1)}, "not understood"},
		"the wrong way":         {[]any{6, 5, server("a", 1)}, "not understood"},
		"a master of nothing":   {[]any{0, 5, []any{}}, "not understood"},
		"no port":               {[]any{0, 5, []any{"a", "x"}}, "not understood"},
		"port 0":                {[]any{0, 5, server("a", 0)}, "not understood"},
		"port 65536":            {[]any{0, 5, server("a", 65536)}, "not understood"},
		"a master not named":    {[]any{0, 5, server("?", 1)}, "cluster-announce-hostname"},
		"an error in its midst": {[]any{0, 5, errors.New("ERR")}, "not understood"},
	} {
		if got, err := parseRange(message(t, test.row), asked); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v; want %q", name, got, err, test.want)
		}
	}
}

// A master of several ranges is one master, and members are the replicas, too.
func TestAcceptCluster(t *testing.T) {
	f := &clusterFinder{asker: &asker{}, seeds: []string{"seed:1"}}
	got := f.accept(clusterAnswer{epoch: 4, ranges: []slotRange{
		{0, 10, []string{"b:1", "r:1"}}, {11, 20, []string{"a:1"}}, {30, 40, []string{"b:1", "r:1"}},
	}})
	if !slices.Equal(got.masters, []string{"b:1", "a:1"}) {
		t.Errorf("masters: %v", got.masters)
	}
	for slot, want := range map[int]uint16{0: 1, 10: 1, 11: 2, 20: 2, 21: 0, 29: 0, 30: 1, 40: 1, 41: 0, slotCount - 1: 0} {
		if got.slots[slot] != want {
			t.Errorf("slot %d: %d, want %d", slot, got.slots[slot], want)
		}
	}
	members := slices.Sorted(slices.Values(f.members))
	if !slices.Equal(members, []string{"a:1", "b:1", "r:1"}) {
		t.Errorf("members: %v", members)
	}
}

// A server without slots is kept while calls are on their way to it, and no longer.
func TestWanted(t *testing.T) {
	s := &Store{wanted: map[string]time.Time{"old:1": time.Now().Add(-2 * wantedFor), "new:1": time.Now(), "known:1": time.Now()}}
	for range 3 {
		if got := s.withWanted(found{masters: []string{"known:1"}}).masters; !slices.Equal(got, []string{"known:1", "new:1"}) {
			t.Fatalf("masters: %v", got)
		}
	}
	if left := slices.Sorted(maps.Keys(s.wanted)); !slices.Equal(left, []string{"known:1", "new:1"}) {
		t.Errorf("still wanted: %v", left)
	}
}

// As long as a node is in doubt it says why, also between the look at its
// heartbeat, which takes the reason, and the suspicion that follows it.
func TestDoubtIsTold(t *testing.T) {
	var d doubt
	d.begin()
	told := func(when string, want bool) {
		t.Helper()
		if text := d.text(); d.doubted() != want || (text != "") != want {
			t.Errorf("%s: in doubt %v, told %q", when, d.doubted(), text)
		}
	}
	told("at first", true)
	d.reason = "" // a look took it
	told("after a look", true)
	d.open, d.told = 1, "it is applied again"
	told("while it is applied again", true)
	d.happened("the connection was lost")
	d.done(1)
	told("after something else happened", true)
	d.calm(2)
	told("in the end", false)
}

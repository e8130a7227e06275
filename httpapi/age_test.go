package httpapi

import (
	"strconv"
	"testing"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/redistest"
)

// Age is how long ago a value was known to be current, in whole seconds: nothing for
// what Redis or a proven copy gives, however old the value is; and while Redis is
// away the time since this server wrote it.
func TestAge(t *testing.T) {
	server := redistest.Start(t)
	f := start(t, jackcache.Options{Redis: &jackcache.RedisOptions{Addrs: []string{server.Addr()}}, Budget: 5 * time.Second}, Options{})
	wrote := time.Now()
	for _, path := range []string{agent, talk} {
		status, method, body := 200, "PUT", `1`
		if path == talk {
			status, method, body = 201, "POST", theHello
		}
		f.want(status, method, path, body)
	}
	written := time.Now()
	within(t, "two seconds have passed", func() bool { return time.Since(written) > 2*time.Second })
	read := func(path string) (source string, age int) {
		t.Helper()
		got := f.want(200, "GET", path, "").header
		age, err := strconv.Atoi(got.Get("Age"))
		if err != nil {
			t.Fatalf("Age %q, %v", got.Get("Age"), err)
		}
		return got.Get("Cache-Status"), age
	}
	for _, path := range []string{agent, talk} {
		for _, want := range []string{"shared", "near"} {
			within(t, want+" answers", func() bool {
				source, age := read(path)
				current := source == "jackcache; hit; detail=shared" || source == "jackcache; hit; detail=near"
				if current && age != 0 {
					t.Errorf("%s: Age %d of %q", path, age, source)
				}
				return source == "jackcache; hit; detail="+want || want == "shared" && current
			})
		}
	}
	server.Kill()
	for _, path := range []string{agent, talk} {
		within(t, "it is stale", func() bool {
			source, age := read(path)
			if source != "jackcache; hit; detail=stale" {
				return false
			}
			if most := int(time.Since(wrote) / time.Second); age < 2 || age > most {
				t.Errorf("%s: Age %d of what was written %d s ago", path, age, most)
			}
			return true
		})
	}
	wrote = time.Now()
	f.want(202, "PUT", agent, `2`)
	written = time.Now()
	within(t, "a second has passed", func() bool { return time.Since(written) > 1500*time.Millisecond })
	if source, age := read(agent); source != "jackcache; hit; detail=pending" || age < 1 || age > int(time.Since(wrote)/time.Second)+1 {
		t.Errorf("%q: Age %d", source, age)
	}
}

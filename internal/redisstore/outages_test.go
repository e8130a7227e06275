package redisstore

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestOutagesInTheLog: an outage is two lines, a server that comes and goes a
// hundred times is two more, and what comes later is told anew.
func TestOutagesInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := newOutages(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == "addr" {
					return slog.Attr{}
				}
				return a
			},
		})), "r:6379")
		wait := func(d time.Duration) { // as the prober does while the server answers
			for late := time.After(d); ; {
				select {
				case <-o.calm.C:
					o.settle()
				case <-late:
					return
				}
			}
		}
		outage := func(d time.Duration) {
			o.begin("timeout")
			begun := time.Now()
			time.Sleep(d)
			o.end(begun)
		}
		outage(12 * time.Second)
		wait(time.Minute)
		outage(5 * time.Second)
		for range 100 {
			wait(time.Second)
			outage(500 * time.Millisecond)
		}
		wait(9 * time.Second)
		outage(time.Second)
		wait(time.Minute)
		outage(time.Second)
		wait(time.Hour)
		want := `level=WARN msg="redis does not answer; no call goes to it until it does" reason=timeout
level=INFO msg="redis answers again" after=12s
level=WARN msg="redis does not answer; no call goes to it until it does" reason=timeout
level=INFO msg="redis answers again" after=5s
level=WARN msg="redis comes and goes; it is told when it answers for 10s" reason=timeout
level=INFO msg="redis answers again, and steadily" stopped=101 after=2m39s
level=WARN msg="redis does not answer; no call goes to it until it does" reason=timeout
level=INFO msg="redis answers again" after=1s`
		if got := strings.TrimSpace(log.String()); got != want {
			t.Errorf("logged\n%s\nwant\n%s", got, want)
		}
	})
}

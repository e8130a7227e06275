package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// probeTime bounds a probe: health checks of containers run every few seconds.
const probeTime = 3 * time.Second

// probe asks /livez or /readyz of a server that runs. It says nothing where the
// answer is yes, and never opens the store: a health check that took the data
// directory would keep a starting server from it.
func (a *app) probe(ctx context.Context, which string) error {
	if which != "live" && which != "ready" {
		return usage(fmt.Sprintf("--probe is %q: allowed are live, ready", which))
	}
	s, err := a.settings(toAsk)
	if err != nil {
		return err
	}
	base := "http://" + reachable(value[string](s, "JACKCACHE_ADDR"))
	if a.server != "" {
		if base, err = serverURL(a.server); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return ask2xx(ctx, base, "/"+which+"z")
}

// ask2xx returns an error with the answer's words where it is not yes.
func ask2xx(ctx context.Context, base, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: (&net.Dialer{}).DialContext, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return notReached(base, err)
	}
	word, err := io.ReadAll(io.LimitReader(resp.Body, 200))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return notReached(base, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s answers %d: %s", base, path, resp.StatusCode, printable(string(word)))
	}
	return nil
}

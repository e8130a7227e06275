package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/httpapi"
	"github.com/jackcache/jackcache/internal/telemetry"
)

func (a *app) serveCommand() *cobra.Command {
	var insecure bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the cache over HTTP",
		Long: `Serves the cache over HTTP until SIGTERM or an interrupt. It listens on this host
alone unless JACKCACHE_ADDR says otherwise, which wants JACKCACHE_API_TOKEN.

On SIGTERM /readyz answers 503, and after JACKCACHE_DRAIN_DELAY the server stops
listening and finishes what is under way. An interrupt skips the delay. A second
signal ends the process at once, with exit code 1.`,
		Example: `  jackcache serve
  REDIS_HOST=redis.internal jackcache serve
  JACKCACHE_API_TOKEN=... jackcache serve --addr 0.0.0.0:8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.serve(cmd.Context(), insecure)
		},
	}
	cmd.Flags().BoolVar(&insecure, "insecure", false, "listen beyond this host without JACKCACHE_API_TOKEN: everybody there reads and writes everything")
	return cmd
}

func (a *app) serve(ctx context.Context, insecure bool) error {
	s, err := a.settings(toServe)
	if err != nil {
		return err
	}
	addr := value[string](s, "JACKCACHE_ADDR")
	if !loopback(addr) && value[string](s, "JACKCACHE_API_TOKEN") == "" && !insecure {
		return usage(fmt.Sprintf("JACKCACHE_ADDR is %q (%s), which others than this host can reach: set JACKCACHE_API_TOKEN, or say --insecure to let everybody read and write everything", addr, s.origin["JACKCACHE_ADDR"]))
	}
	log := a.logger(s)
	for _, w := range s.warnings {
		log.Warn(w)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another process; choose another address with --addr or JACKCACHE_ADDR", addr)
	}
	if err != nil {
		return err
	}
	tel, err := measure(ctx, log)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	cache, err := openMeasured(ctx, s, log, tel)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := newServer(cache, s, log, tel)
	dir, err := filepath.Abs(value[string](s, "JACKCACHE_DATA_DIR"))
	if err != nil {
		dir = value[string](s, "JACKCACHE_DATA_DIR")
	}
	log.Info("serving", "addr", "http://"+l.Addr().String(), "store", s.store(), "dataDir", dir, "version", version())
	err = srv.run(l, signals)
	flush(ctx, log, tel)
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	return errors.Join(err, cache.Close(closing))
}

// loopback reports whether only this host reaches an address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (a *app) logger(s *settings) *slog.Logger {
	var level slog.Level
	// The table allows nothing that is not a level.
	_ = level.UnmarshalText([]byte(value[string](s, "JACKCACHE_LOG_LEVEL")))
	o := &slog.HandlerOptions{Level: level}
	format := value[string](s, "JACKCACHE_LOG_FORMAT")
	if format == "text" || format == "auto" && terminal(a.err) {
		return slog.New(slog.NewTextHandler(a.err, o))
	}
	return slog.New(slog.NewJSONHandler(a.err, o))
}

// server is the HTTP server with what its end takes.
type server struct {
	api      *httpapi.Server
	http     *http.Server
	log      *slog.Logger
	delay    time.Duration // after SIGTERM, before connections are closed
	patience time.Duration // for requests under way
}

func newServer(cache *assistant.Assistant, s *settings, log *slog.Logger, tel *telemetry.Telemetry) *server {
	token := value[string](s, "JACKCACHE_API_TOKEN")
	api := httpapi.New(cache, httpapi.Options{
		Token: token, LoopbackHosts: token == "" && loopback(value[string](s, "JACKCACHE_ADDR")),
		StrictReady: value[bool](s, "JACKCACHE_STRICT_READY"), MaxBody: value[int64](s, "JACKCACHE_MAX_BODY"), Version: version(), Logger: log,
		Metrics: tel.Handler, MetricsOpen: value[bool](s, "JACKCACHE_METRICS_OPEN"), MeterProvider: tel.Meters, TracerProvider: tel.Tracers,
	})
	srv := httpapi.NewHTTPServer(api)
	return &server{
		api: api, http: srv, log: log, delay: value[time.Duration](s, "JACKCACHE_DRAIN_DELAY"),
		patience: value[time.Duration](s, "JACKCACHE_SHUTDOWN_TIMEOUT"),
	}
}

// run serves until the first signal and then ends in order. A second signal
// ends it at once.
func (s *server) run(l net.Listener, signals <-chan os.Signal) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(l) }()
	var first os.Signal
	select {
	case err := <-served:
		return err
	case first = <-signals:
	}
	s.log.Info("stopping", "signal", first.String())
	s.api.Drain()
	if first == syscall.SIGTERM && s.delay > 0 {
		wait := time.NewTimer(s.delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-signals:
			return s.abort()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- s.http.Shutdown(ctx) }()
	select {
	case err := <-stopped:
		if errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("requests were still under way and are cut", "after", s.patience.String())
			err = s.http.Close()
		}
		return err
	case <-signals:
		return s.abort()
	}
}

// abort ends the process without waiting for anything. What was acknowledged is
// on the disk or in Redis.
func (s *server) abort() error {
	s.log.Warn("a second signal: ending at once")
	os.Exit(exitFailed)
	return nil
}

package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/jackcache/jackcache/assistant"
	"github.com/jackcache/jackcache/internal/telemetry"
)

// flushTime bounds what is sent over OTLP at the end: an endpoint that hangs
// must not keep the program from ending.
const flushTime = 3 * time.Second

// measure starts what the server is measured with. The standard variables of
// OpenTelemetry come from the environment only, which its SDK reads itself.
func measure(ctx context.Context, log logger) (*telemetry.Telemetry, error) {
	t, err := telemetry.Open(ctx, telemetry.Options{Version: version(), Getenv: os.Getenv, Logger: log})
	if err != nil {
		return nil, usage(err.Error())
	}
	return t, nil
}

// openMeasured opens the cache of a server.
func openMeasured(ctx context.Context, s *settings, log logger, t *telemetry.Telemetry) (*assistant.Assistant, error) {
	o, ttls := s.options(log)
	o.MeterProvider, o.TracerProvider = t.Meters, t.Tracers
	return assistant.Open(ctx, o, ttls)
}

// flush sends what was not sent yet. That it cannot is no failure of the server.
func flush(ctx context.Context, log logger, t *telemetry.Telemetry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn(fmt.Sprintf("some telemetry was not delivered within %v", flushTime), "err", err)
	}
}

package httpapi

import (
	"log/slog"
	"net/http"
	"time"
)

// The limits of the server that NewHTTPServer makes. Import and export are
// bounded by StreamIdle instead of ReadTimeout and WriteTimeout.
const (
	ReadHeaderTimeout = 5 * time.Second
	ReadTimeout       = 30 * time.Second
	WriteTimeout      = 60 * time.Second
	IdleTimeout       = 120 * time.Second
	MaxHeaderBytes    = 32 << 10
	// StreamIdle is how long an import waits for more, and an export for its
	// reader.
	StreamIdle = 30 * time.Second
)

// NewHTTPServer returns a server for a handler with the limits above. The caller
// sets Addr or calls Serve.
func NewHTTPServer(h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: ReadHeaderTimeout, ReadTimeout: ReadTimeout, WriteTimeout: WriteTimeout,
		IdleTimeout: IdleTimeout, MaxHeaderBytes: MaxHeaderBytes,
	}
	if s, ok := h.(*Server); ok {
		srv.ErrorLog = slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug)
	}
	return srv
}

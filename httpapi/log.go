package httpapi

import (
	"log/slog"
	"strings"
	"time"
)

// log writes the line of the access log.
func (x *exchange) log() {
	ctx, logger := x.r.Context(), x.s.opts.Logger
	if !logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	logger.LogAttrs(ctx, slog.LevelDebug, "request",
		slog.String("method", x.r.Method), slog.String("path", x.maskedPath()), slog.Int("status", x.status),
		slog.Int64("bytes", x.written), slog.Duration("took", time.Since(x.begun)), x.identity())
}

// maskedPath is the path with what names a person masked. Paths that no route
// matches are not logged: anything could be in them.
func (x *exchange) maskedPath() string {
	_, pattern, ok := strings.Cut(x.r.Pattern, " ")
	if !ok {
		return "(no route)"
	}
	var b strings.Builder
	for part := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		b.WriteByte('/')
		name, wild := strings.CutPrefix(part, "{")
		if !wild {
			b.WriteString(part)
			continue
		}
		switch name = strings.TrimSuffix(name, "}"); name {
		case "$":
		case "org", "kind":
			b.WriteString(clip(x.r.PathValue(name)))
		default: // a phone, a lead, or an id that may be one of them
			b.WriteString(mask(x.r.PathValue(name)))
		}
	}
	return b.String()
}

// mask keeps the last two characters of a long text.
func mask(s string) string {
	r := []rune(s)
	if len(r) < 8 {
		return "***"
	}
	return "***" + string(r[len(r)-2:])
}

// clip bounds what of a client's text is logged.
func clip(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

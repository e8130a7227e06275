package filestore

import (
	"errors"
	"log/slog"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// Defaults of Options.
const (
	DefaultMaxBytes   = 4 << 30
	DefaultSweepEvery = 30 * time.Second
)

// ErrLocked means that another process, or another Store of this one, has the
// file open.
var ErrLocked = errors.New("store file is in use")

// Options of a Store. The zero values mean the defaults that are named.
type Options struct {
	// Space is the environment whose keys the store serves. One file can hold
	// several; they do not see each other.
	Space keys.Space

	// Now is the store's time. Nil: time.Now.
	Now func() time.Time

	// MaxBytes bounds the used part of the file; beyond it only deletions are
	// accepted. Zero: DefaultMaxBytes.
	MaxBytes int64

	// SweepEvery is the pause between two removals of what has expired.
	// Zero: DefaultSweepEvery. Negative: never.
	SweepEvery time.Duration

	// Logger is told when the store goes down or comes back. Nil: nobody is.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.SweepEvery == 0 {
		o.SweepEvery = DefaultSweepEvery
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/store"
)

// away are the error codes with which a server says that it did nothing and
// cannot now, but that it, or another node, will.
var away = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "BUSY",
	// It did not let this process in; the credentials may be new at the next try.
	"WRONGPASS", "NOAUTH", "max number of clients reached",
	// The slot moved more often than a call follows.
	"MOVED", "ASK"}

// halfAway are the error codes of a server that refuses writes for now and
// serves reads.
var halfAway = []string{"NOREPLICAS", "MISCONF"}

// tolerable reports whether a refusal of a probe leaves something to serve, or
// is for admit to explain.
func tolerable(err error) bool {
	if _, ok := redirected(err); ok {
		return true
	}
	re, ok := rueidis.IsRedisErr(err)
	return ok && (has(err, halfAway) || has(err, []string{"OOM", "NOPERM"}) || strings.HasPrefix(re.Error(), "unknown command"))
}

// intent tells whether an operation changes anything: a write whose answer is
// missing has an unknown outcome, a read has none.
type intent bool

const (
	reading intent = false
	writing intent = true
)

// classify is the only place that looks at errors of Redis. It returns nil for
// nil and for Redis' nil.
func classify(err error, in intent) error {
	if err == nil || rueidis.IsRedisNil(err) {
		return nil
	}
	if re, ok := rueidis.IsRedisErr(err); ok {
		return classifyReply(re)
	}
	if in == writing && !neverSent(err) {
		return fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

func classifyReply(re *rueidis.RedisError) error {
	text := re.Error()
	code, _, _ := strings.Cut(text, " ")
	if has(re, away) {
		return fmt.Errorf("%w: %s", store.ErrUnavailable, text)
	}
	if code == "OOM" || strings.Contains(text, "OOM command not allowed") {
		return fmt.Errorf("%w: %s", store.ErrFull, text)
	}
	return fmt.Errorf("%w: %s", store.ErrRejected, text)
}

// has reports whether a reply of a server has one of the codes. An error inside
// a script names the script first and its own code last.
func has(err error, codes []string) bool {
	re, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	text := re.Error()
	for _, c := range codes {
		if strings.HasPrefix(text, c+" ") || text == c || strings.Contains(text, " "+c+" ") || strings.Contains(text, "-"+c+" ") {
			return true
		}
	}
	return false
}

// neverSent reports whether the error came before anything reached the server.
func neverSent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	return errors.Is(err, errShed) || errors.Is(err, errOpen) || errors.Is(err, errClosed) || errors.Is(err, errNoMaster)
}

var (
	// errOpen: the breaker is open.
	errOpen = errors.New("redis does not answer; calls are refused until it does")
	// errClosed: the store was closed before the call.
	errClosed = errors.New("the store is closed")
	// errShed: too many commands wait for an answer.
	errShed = errors.New("too many commands wait for redis")
)

// isReadOnly reports whether a server said that it is a replica.
func isReadOnly(err error) bool { return err != nil && strings.Contains(err.Error(), "READONLY") }

// isTimeout reports whether a server was too slow, or a connection to it.
func isTimeout(err error) bool {
	var netErr net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
}

// blame tells how an outcome counts for the breaker.
type blame uint8

const (
	fine    blame = iota // the node answered
	failing              // it did not, or said that it cannot
	neutral              // says nothing about the node
)

// judge decides who is to blame for err. A caller who gave up early says
// nothing about the node; patient reports whether it waited long enough.
func judge(err error, patient bool) blame {
	switch {
	case err == nil || rueidis.IsRedisNil(err):
		return fine
	case errors.Is(err, errOpen), errors.Is(err, errShed), errors.Is(err, errClosed), errors.Is(err, context.Canceled):
		return neutral
	case errors.Is(err, context.DeadlineExceeded) && !patient:
		return neutral
	}
	if _, ok := redirected(err); ok || has(err, halfAway) {
		return fine // it answered
	}
	if _, ok := rueidis.IsRedisErr(err); !ok || errors.Is(classify(err, reading), store.ErrUnavailable) {
		return failing
	}
	return fine
}

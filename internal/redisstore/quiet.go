package redisstore

import (
	"net"
	"sync/atomic"
)

// quiet is a connection on which nothing is read before something was written.
// A server that has its maximum of clients greets a new one with an error, and
// the client takes an answer that it has not asked for as a reason to panic.
type quiet struct {
	net.Conn
	spoke atomic.Bool
}

// Write sends b.
func (q *quiet) Write(b []byte) (int, error) {
	n, err := q.Conn.Write(b)
	if err == nil {
		q.spoke.Store(true)
	}
	return n, err
}

// Read reads what is there, if it was asked for.
func (q *quiet) Read(b []byte) (int, error) {
	if !q.spoke.Load() {
		return 0, net.ErrClosed
	}
	return q.Conn.Read(b)
}

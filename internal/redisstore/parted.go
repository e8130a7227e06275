package redisstore

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// One address may lead to several servers: a virtual address, a proxy or a name
// moves from one to another, and each connection stays where it was made. Then
// the heartbeat, which has a connection of its own, would speak of a server that
// the calls do not reach. So a heartbeat is raised only when every connection
// shows the server, and the heartbeat, that it is raised on.

// differs tells in words what a connection shows that leads elsewhere; empty: it
// shows the stream and one of held.
func (a answer) differs(stream string, held []string) string {
	switch {
	case a.stream != stream:
		return "another server stands in its place, or it changed its role"
	case a.held == "":
		return "its heartbeat is gone"
	case !slices.Contains(held, a.held):
		return "its heartbeat is not the one that was written"
	}
	return ""
}

// shown returns what the connections for calls show of the heartbeat. It has no
// more time than a probe: calls may have to wait with it for a connection.
func (n *node) shown(ctx context.Context, key string) ([]answer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var all []answer
	err := n.job(func(l *link) error {
		all = make([]answer, len(l.calls))
		var asks []func() error
		for i, c := range l.calls {
			asks = append(asks, func() (err error) {
				all[i], err = askBeat(ctx, c, key, "", "", nil)
				return err
			})
		}
		return together(asks...)
	})
	return all, err
}

// agreed reports whether every connection for calls shows the stream and one of
// held. Where one does not the node is in doubt.
func (n *node) agreed(ctx context.Context, key, stream string, held []string) (bool, error) {
	all, err := n.shown(ctx, key)
	for i := 0; err == nil && i < len(all); i++ {
		if reason := all[i].differs(stream, held); reason != "" {
			n.doubt.happened(reason)
			return false, nil // the look that follows finds out which
		}
	}
	return err == nil, err
}

// seen reports whether every connection for calls shows the mark that a look
// has just written on the connection for jobs. If they lead to different servers
// all are made anew.
func (n *node) seen(ctx context.Context, key, stream, mark string) (bool, error) {
	all, err := n.shown(ctx, key)
	if err != nil {
		return false, err
	}
	for _, a := range all {
		switch {
		case a.stream != stream || stream == "" && a.held != mark:
			n.part("its connections lead to different servers")
			return false, fmt.Errorf("the connections to %s lead to different servers", n.addr)
		case a.held != mark:
			return false, nil // something happened after the mark
		}
	}
	return true, nil
}

// part has the connections made anew, by the prober and not too often: no call
// may meet one that has to be dialled. Until they lead to one server the node
// stays in doubt.
func (n *node) part(reason string) {
	now := time.Now()
	if now.Sub(n.partedAt) < relinkAfter {
		return
	}
	n.partedAt = now
	n.parted.Store(&reason)
	n.breaker.Trip(reason)
}

// relink makes the connections anew, so that the name of the server is looked
// up again.
func (n *node) relink(reason string) {
	l, err := n.s.newLink(n.addr, n)
	if err != nil {
		n.logger.Warn("redis cannot be connected anew", "addr", n.addr, "err", err)
		return
	}
	n.logger.Info("connecting to redis anew", "addr", n.addr, "reason", reason)
	old := n.link.Swap(l)
	n.shake()
	n.s.background(old.close)
}

// lostJobs is called when the connection for jobs ends: heartbeats go over it,
// and replays.
func (n *node) lostJobs(l *link) {
	if !n.closed.Load() && n.link.Load() == l {
		n.doubt.happened("the connection for jobs was lost")
	}
}

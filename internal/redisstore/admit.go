package redisstore

import (
	"context"
	"errors"
	"fmt"
)

// admit decides whether a server that answers may serve. It is asked before
// calls reach the server for the first time, and again after each outage: the
// address may lead to another one by then.
func (s *Store) admit(n *node) error {
	ctx, cancel := context.WithTimeout(n.life, probeTime)
	defer cancel()
	if err := s.checkMode(ctx, n); err != nil {
		return err
	}
	return s.recognise(ctx, n)
}

var errMode = errors.New("wrong mode of redis")

// checkMode refuses a server that is run in another way than the settings say:
// some keys would be served and others not.
func (s *Store) checkMode(ctx context.Context, n *node) error {
	c := n.link.Load().jobs
	text, err := c.Do(ctx, c.B().Info().Section("server").Build()).ToString()
	if err != nil {
		if isReply(err) {
			return nil // no right to know
		}
		return fmt.Errorf("INFO: %w", err)
	}
	mode := parseInfo(text)["redis_mode"]
	switch {
	case mode == "sentinel":
		return fmt.Errorf("%w: %s is a Sentinel; set the mode to sentinel (REDIS_MODE)", errMode, n.addr)
	case mode == "cluster" && s.opts.Mode != Cluster:
		return fmt.Errorf("%w: %s is a member of a Cluster; set the mode to cluster (REDIS_MODE)", errMode, n.addr)
	}
	return nil
}

package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

const (
	// beatEvery is how often an idle server is asked whether it is there.
	beatEvery = 500 * time.Millisecond
	// beats that fail in a row open the breaker: fewer may be a busy host.
	beats = 5
	// inspectEvery is how often INFO is read and the instance number kept.
	inspectEvery = 5 * time.Second
	// claimLife is how long a claim of an instance number outlives its process.
	claimLife = time.Hour
	// claimTries bounds how many numbers are tried when they are taken.
	claimTries = 32
)

// monitor asks an idle server whether it is there, and reads INFO.
func (n *node) monitor() {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	next := time.Now()
	seen := n.doubt.events.Load()
	for {
		select {
		case <-n.life.Done():
			return
		case <-beat.C:
		}
		if !n.breaker.Allow() {
			next = time.Time{} // as soon as it is back
			continue
		}
		n.beat()
		events := n.doubt.events.Load()
		if time.Now().Before(next) && events == seen {
			continue
		}
		seen = events
		ctx, cancel := context.WithTimeout(n.life, jobTime)
		n.inspect(ctx)
		cancel()
		next = time.Now().Add(inspectEvery)
	}
}

// beat is the call that finds out about a server that is dead, or takes no
// writes, when nobody else calls.
func (n *node) beat() {
	for range beats {
		ctx, cancel := context.WithTimeout(n.life, n.s.opts.Timeout)
		err := n.do(ctx, call{"SET", 1}, func(l *link) error { return n.write(ctx, l.call()) })
		cancel()
		if judge(err, true) != failing {
			if err == nil || isReply(err) {
				n.refuses(err)
			}
			return
		}
		if !n.breaker.Allow() {
			return
		}
	}
	n.breaker.Trip("it did not answer heartbeats")
}

// keepClaim keeps the claim of the instance number.
func (s *Store) keepClaim() {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	next := time.Now().Add(inspectEvery)
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		claimed := s.claimed
		s.mu.Unlock()
		if claimed && time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(inspectEvery)
		ctx, cancel := context.WithTimeout(context.Background(), jobTime)
		s.recheck(ctx)
		s.claimInstance(ctx)
		cancel()
	}
}

// claimInstance makes sure that no other process stamps with this one's number.
func (s *Store) claimInstance(ctx context.Context) {
	for range claimTries {
		instance := s.opts.Clock.Node()
		n := int64(0)
		key := s.opts.Space.Instance(instance)
		err := s.jobOn(ctx, key, func(c rueidis.Client) (err error) {
			n, err = instanceClaim.run(ctx, c, []string{key},
				[]string{s.bootID, strconv.FormatInt(claimLife.Milliseconds(), 10)}).AsInt64()
			return err
		})
		s.mu.Lock()
		s.claimed = err == nil && n == 1
		s.mu.Unlock()
		if err != nil || n == 1 {
			return
		}
		// Far from the taken one: neighbours that look for a number do not collide.
		s.opts.Clock.SetNode(instance*31 + 17)
	}
}

package redisstore

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Get reads one value and the generation in one command.
func (s *Store) Get(ctx context.Context, k keys.Key) (store.Read, error) {
	rs, err := s.GetMany(ctx, []keys.Key{k})
	if err != nil {
		return store.Read{}, err
	}
	return rs[0], nil
}

// GetMany reads values of one organisation and its generation in one command.
func (s *Store) GetMany(ctx context.Context, ks []keys.Key) ([]store.Read, error) {
	return s.getMany(ctx, ks, nil)
}

// getMany reads values, and into lives, one for each or none at all, what is left
// of theirs.
func (s *Store) getMany(ctx context.Context, ks []keys.Key, lives []rueidis.RedisMessage) ([]store.Read, error) {
	if len(ks) == 0 {
		return nil, nil
	}
	names := make([]string, len(ks)+1)
	for i, k := range ks {
		names[i] = k.String()
	}
	names[len(ks)] = s.generationOf(ks[0].Org())
	values, errs := s.values(ctx, names, lives)
	if err := errs.of(len(ks)); err != nil { // the generation belongs to each
		return nil, classify(err, reading)
	}
	generation, err := toGeneration(values[len(ks)])
	if err != nil {
		return nil, err
	}
	rs := make([]store.Read, len(ks))
	for i := range ks {
		rs[i].Generation = generation
		err := classify(errs.of(i), reading)
		if err == nil {
			err = readInto(&rs[i], values[i])
		}
		if err == nil && rs[i].Found && len(lives) > 0 {
			rs[i].Left, err = leftOf(lives[i])
		}
		switch {
		case err == nil:
		case len(ks) == 1:
			return nil, err
		default:
			errs.set(i, len(ks), err)
		}
	}
	if errs == nil {
		return rs, nil
	}
	return rs, store.JoinErrors(errs[:len(ks)])
}

// readInto reads what a key holds.
func readInto(r *store.Read, value rueidis.RedisMessage) (err error) {
	if value.IsNil() {
		return nil
	}
	text, err := value.ToString()
	if err != nil {
		return classify(err, reading)
	}
	if foreign(text) {
		return nil
	}
	r.Value, err = record.ParseValue(bytesOf(text))
	r.Found = err == nil
	return err
}

// nameErrors are those of several names, in their order; nil: there are none.
type nameErrors []error

func (e nameErrors) of(i int) error {
	if e == nil {
		return nil
	}
	return e[i]
}

// set sets the error of one of n names.
func (e *nameErrors) set(i, n int, err error) {
	if *e == nil {
		*e = make(nameErrors, n)
	}
	(*e)[i] = err
}

// values reads keys, in one command where one server has them all, and the lives of
// as many of them as there are lives.
func (s *Store) values(ctx context.Context, names []string, lives []rueidis.RedisMessage) (values []rueidis.RedisMessage, errs nameErrors) {
	if s.opts.Mode == Cluster {
		return s.scattered(ctx, names, lives)
	}
	err := s.on(ctx, names[0], call{"MGET", int64(1 + len(lives))}, func(c rueidis.Client) (err error) {
		if len(lives) == 0 {
			values, err = c.Do(ctx, c.B().Mget().Key(names...).Build()).ToArray()
			return err
		}
		cmds := make(rueidis.Commands, 1, 1+len(lives))
		cmds[0] = c.B().Mget().Key(names...).Build()
		for i := range lives {
			cmds = append(cmds, c.B().Pttl().Key(names[i]).Build())
		}
		rs := c.DoMulti(ctx, cmds...)
		if values, err = rs[0].ToArray(); err != nil {
			return err
		}
		for i := range lives {
			if lives[i], err = rs[1+i].ToMessage(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, slices.Repeat(nameErrors{err}, len(names))
	}
	return values, nil
}

// scattered reads keys from the masters that have them, all at the same time.
func (s *Store) scattered(ctx context.Context, names []string, lives []rueidis.RedisMessage) (values []rueidis.RedisMessage, errs nameErrors) {
	l := s.layout.Load()
	parts := make(map[*node][]int)
	for i, name := range names {
		n := l.node(name)
		if n == nil {
			errs.set(i, len(names), s.noMaster(name))
			continue
		}
		parts[n] = append(parts[n], i)
	}
	values = make([]rueidis.RedisMessage, len(names))
	var reads []func() error
	failed := make([]error, len(parts))
	var asked [][]int
	for _, part := range parts {
		n := len(asked)
		asked = append(asked, part)
		reads = append(reads, func() error {
			failed[n] = s.gather(ctx, names, part, values, lives)
			return failed[n]
		})
	}
	if len(reads) == 0 || together(reads...) == nil {
		return values, errs
	}
	for n, err := range failed {
		for _, i := range asked[n] {
			if err != nil {
				errs.set(i, len(names), err)
			}
		}
	}
	return values, errs
}

// gather reads the keys of one master, and those that moved meanwhile one by one.
func (s *Store) gather(ctx context.Context, names []string, part []int, values, lives []rueidis.RedisMessage) error {
	var moved []int
	err := s.on(ctx, names[part[0]], call{"GET", int64(len(part))}, func(c rueidis.Client) error {
		cmds := make(rueidis.Commands, len(part), 2*len(part))
		for i, at := range part {
			cmds[i] = c.B().Get().Key(names[at]).Build()
		}
		for _, at := range part {
			if at < len(lives) {
				cmds = append(cmds, c.B().Pttl().Key(names[at]).Build())
			}
		}
		moved = moved[:0]
		rs := c.DoMulti(ctx, cmds...)
		asked := rs[len(part):]
		for i, r := range rs[:len(part)] {
			m, err := r.ToMessage()
			if _, ok := redirected(err); ok && i > 0 {
				moved = append(moved, part[i])
			} else if err != nil && !rueidis.IsRedisNil(err) {
				return err
			}
			values[part[i]] = m
		}
		for _, at := range part {
			if at >= len(lives) {
				continue
			}
			m, err := asked[0].ToMessage()
			if err != nil && !slices.Contains(moved, at) { // those that moved are asked again
				return err
			}
			lives[at], asked = m, asked[1:]
		}
		return nil
	})
	for _, at := range moved {
		if err != nil {
			break
		}
		err = s.gather(ctx, names, []int{at}, values, lives)
	}
	return err
}

// together runs functions at the same time, the last one here, and returns their
// errors.
func together(fs ...func() error) error {
	errs := make([]error, len(fs))
	var others sync.WaitGroup
	for i, f := range fs[:len(fs)-1] {
		others.Go(func() { errs[i] = f() })
	}
	errs[len(fs)-1] = fs[len(fs)-1]()
	others.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// foreign reports whether a value was put there by somebody else, for example by
// the system that this one replaces, whose keys look the same. It counts as
// absent, and the next write takes its place. The scripts see it alike.
func foreign(text string) bool {
	digits := 0
	for digits < len(text) && strings.IndexByte("0123456789abcdefABCDEF", text[digits]) >= 0 {
		digits++
	}
	return digits < clock.VersionLen+4 || digits == len(text) || text[digits] != '|'
}

// Messages reads the end of a conversation and the generation in one trip.
func (s *Store) Messages(ctx context.Context, k keys.Key, last int) (store.Log, error) {
	log, complete, err := s.messages(ctx, k, last)
	if err == nil && !complete {
		// Some of the newest are of an older generation: they hide others.
		log, _, err = s.messages(ctx, k, 0)
		if n := len(log.Messages); err == nil && last > 0 && n > last {
			log.Messages = log.Messages[n-last:]
		}
	}
	return log, err
}

// messages reports as complete whether what it read is all that was asked for.
func (s *Store) messages(ctx context.Context, k keys.Key, last int) (log store.Log, complete bool, err error) {
	var (
		elements      []rueidis.RedisMessage
		counter, life rueidis.RedisMessage
	)
	if s.opts.Mode == Cluster {
		elements, life, counter, err = s.scatteredMessages(ctx, k, last)
	} else {
		err = s.on(ctx, k.String(), call{"LRANGE", 3}, func(c rueidis.Client) error {
			rs := c.DoMulti(ctx, append(list(c, k, last), c.B().Get().Key(s.generationOf(k.Org())).Build())...)
			if elements, life, err = listed(rs); err != nil {
				return err
			}
			counter, err = rs[2].ToMessage()
			return err
		})
	}
	if err := classify(err, reading); err != nil {
		return log, false, err
	}
	if log.Generation, err = toGeneration(counter); err != nil {
		return log, false, err
	}
	if len(elements) > 0 {
		if log.Left, err = leftOf(life); err != nil {
			return log, false, err
		}
	}
	log.Messages = make([]record.Message, 0, len(elements))
	for _, e := range elements {
		text, err := e.ToString()
		if err != nil {
			return log, false, classify(err, reading)
		}
		m, err := record.ParseMessage(bytesOf(text))
		if err != nil {
			return log, false, err
		}
		if m.Generation >= log.Generation {
			log.Messages = append(log.Messages, m)
		}
	}
	return log, len(log.Messages) == len(elements) || last == 0, nil
}

// list reads the end of a conversation and what is left of its life.
func list(c rueidis.Client, k keys.Key, last int) rueidis.Commands {
	return rueidis.Commands{
		c.B().Lrange().Key(k.String()).Start(int64(-last)).Stop(-1).Build(),
		c.B().Pttl().Key(k.String()).Build(),
	}
}

// listed takes apart the answers to list.
func listed(rs []rueidis.RedisResult) (elements []rueidis.RedisMessage, life rueidis.RedisMessage, err error) {
	if elements, err = rs[0].ToArray(); err == nil {
		life, err = rs[1].ToMessage()
	}
	return elements, life, err
}

// scatteredMessages reads a list from one master and the generation from
// another, at the same time.
func (s *Store) scatteredMessages(ctx context.Context, k keys.Key, last int) (elements []rueidis.RedisMessage, life, counter rueidis.RedisMessage, err error) {
	generation := s.generationOf(k.Org())
	err = together(
		func() error {
			return s.on(ctx, generation, call{"GET", 1}, func(c rueidis.Client) (err error) {
				if counter, err = c.Do(ctx, c.B().Get().Key(generation).Build()).ToMessage(); rueidis.IsRedisNil(err) {
					err = nil
				}
				return err
			})
		},
		func() error {
			return s.on(ctx, k.String(), call{"LRANGE", 2}, func(c rueidis.Client) (err error) {
				elements, life, err = listed(c.DoMulti(ctx, list(c, k, last)...))
				return err
			})
		})
	return elements, life, counter, err
}

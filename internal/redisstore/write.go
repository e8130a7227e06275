package redisstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/keys"
	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

// Apply applies one operation in one script.
func (s *Store) Apply(ctx context.Context, op store.Op) (store.Result, error) {
	switch op.Action {
	case store.Set:
		return s.set(ctx, op)
	case store.Append, store.Replace:
		return s.converse(ctx, op)
	}
	return store.Result{}, fmt.Errorf("%w: action %d", store.ErrRejected, op.Action)
}

// send runs a script where its caller belongs: those who wait for an answer on
// the guarded client, replays and imports on that for long jobs. It returns the
// generation that the organisation has afterwards where the script cannot see it.
func (s *Store) send(ctx context.Context, op store.Op, f func(rueidis.Client) error) (generation uint64, err error) {
	run := s.on
	if op.Mode != store.Live {
		run = func(ctx context.Context, key string, _ call, f func(rueidis.Client) error) error {
			return s.jobOn(ctx, key, f)
		}
	}
	write := func() error {
		return classify(run(ctx, op.Key.String(), call{"EVALSHA", 1}, f), writing)
	}
	if s.opts.Mode != Cluster {
		return 0, write()
	}
	return s.sendScattered(ctx, op, run, write)
}

// sendScattered writes to one master and reads the generation from another, at
// the same time: an invalidation that is not seen then was not acknowledged
// before the write began, so it may count as later.
func (s *Store) sendScattered(ctx context.Context, op store.Op, run runner, write func() error) (generation uint64, err error) {
	key := s.generationOf(op.Key.Org())
	if n := s.layout.Load().node(key); n == nil || !n.breaker.Allow() {
		return 0, classify(fmt.Errorf("%w: it has the generation of the organisation", errOpen), writing)
	}
	var unread error
	err = together(
		func() error {
			unread = run(ctx, key, call{"GET", 1}, func(c rueidis.Client) error {
				m, err := c.Do(ctx, c.B().Get().Key(key).Build()).ToMessage()
				if err == nil || rueidis.IsRedisNil(err) {
					generation, err = toGeneration(m)
				}
				return err
			})
			return nil
		}, write)
	if err == nil && unread != nil {
		// It may lie under a generation that has ended.
		err = fmt.Errorf("%w: the generation of the organisation: %w", store.ErrUnknown, unread)
	}
	return generation, err
}

// runner is on or jobOn.
type runner func(ctx context.Context, key string, c call, f func(rueidis.Client) error) error

// scriptKeys are the keys of a write, and where one server has them all the
// generation, too.
func (s *Store) scriptKeys(k keys.Key, more ...string) []string {
	names := append([]string{k.String()}, more...)
	if s.opts.Mode != Cluster {
		names = append(names, s.generationOf(k.Org()))
	}
	return names
}

// ended answers a condition in a Cluster whose generation has ended: the script does not
// see the generation there, and would write what looked at data that is not there any
// more. The zero Result: it has not ended.
func (s *Store) ended(ctx context.Context, op store.Op) (store.Result, error) {
	if s.opts.Mode != Cluster || op.If.Kind == store.Always || op.Key.Org().IsZero() {
		return store.Result{}, nil
	}
	if g, err := s.Generation(ctx, op.Key.Org()); err != nil || g > op.Generation {
		return store.Result{Status: store.Stale, Generation: g}, err
	}
	return store.Result{}, nil
}

func (s *Store) set(ctx context.Context, op store.Op) (store.Result, error) {
	value := record.Value{Version: op.Version, Generation: op.Generation, Flags: op.Flags, Stored: op.Payload}
	stored := value.Append(make([]byte, 0, record.MaxHeader+len(op.Payload)))
	condition, seen, tombstone := "", "", "0"
	if op.Flags&record.Tombstone != 0 && !op.Version.IsAbsence() { // nobody has to remember that there is nothing
		tombstone = "1"
	}
	switch op.If.Kind {
	case store.Always:
	case store.IfAbsent:
		condition = "absent"
	case store.IfVersion:
		condition, seen = "version", op.If.Version.String()
	case store.IfSeen:
		condition = "seen"
		if !op.If.Version.IsZero() {
			seen = op.If.Version.String()
		}
	}
	if stale, err := s.ended(ctx, op); stale.Status != 0 || err != nil {
		return stale, err
	}
	var line string
	names := s.scriptKeys(op.Key)
	generation, err := s.send(ctx, op, func(c rueidis.Client) (err error) {
		line, err = valueSet.run(ctx, c, names,
			[]string{
				textOf(stored), hexadecimal(op.Generation), millis(op.TTL), instant(op.ExpiresAt),
				condition, seen, maxAhead, tombstone,
			}).ToString()
		return err
	})
	if err != nil {
		return store.Result{}, err
	}
	res, err := parseAnswer(strings.Fields(line))
	res.Generation = max(res.Generation, generation)
	return res, err
}

func (s *Store) converse(ctx context.Context, op store.Op) (store.Result, error) {
	args := conversationArgs(op)
	var answer []string
	names := s.scriptKeys(op.Key, s.opts.Space.Meta(op.Key))
	generation, err := s.send(ctx, op, func(c rueidis.Client) (err error) {
		answer, err = conversation.run(ctx, c, names, args).AsStrSlice()
		return err
	})
	if err != nil {
		return store.Result{}, err
	}
	if len(answer) < 7 {
		return store.Result{}, fmt.Errorf("%w: the script answered %q", store.ErrCorrupt, answer)
	}
	res, err := parseAnswer(answer[:6])
	if err != nil {
		return res, err
	}
	res.ConflictID = answer[6]
	res.Generation = max(res.Generation, generation)
	for _, p := range answer[7:] {
		if p == "" {
			return res, fmt.Errorf("%w: the script answered %q", store.ErrCorrupt, answer)
		}
		order, err := record.ParseOrder(p[1:])
		if err != nil {
			return res, err
		}
		res.Placed = append(res.Placed, store.Placed{Order: order, Duplicate: p[0] == 'd', Dropped: p[0] == 'x'})
	}
	return res, nil
}

func conversationArgs(op store.Op) []string {
	mode, action := "live", "append"
	if op.Mode == store.Merge {
		mode = "merge"
	}
	if op.Action == store.Replace {
		action = "replace"
	}
	args := make([]string, 0, 13+4*len(op.Messages))
	args = append(args, mode, action, op.Version.String(), hexadecimal(op.Generation),
		millis(op.TTL), instant(op.ExpiresAt), millis(op.MaxLife), millis(op.Keep),
		strconv.Itoa(op.Window.Messages), strconv.Itoa(op.Window.Slack), strconv.Itoa(op.Window.Bytes),
		strconv.Itoa(op.Window.IDs), maxAhead)
	for _, m := range op.Messages {
		head := record.Message{Order: m.Order(op.Version), Flags: m.Flags}.AppendHead(make([]byte, 0, record.OrderLen+3))
		args = append(args, textOf(head), record.EscapeID(m.ID), hex.EncodeToString(m.Digest[:]), textOf(m.Payload))
	}
	return args
}

var statuses = map[string]store.Status{
	"applied": store.Applied, "unchanged": store.Unchanged, "superseded": store.Superseded,
	"stale": store.Stale, "conflict": store.Conflict, "ahead": store.Ahead,
	"condition": store.ConditionFail, "expired": store.Expired,
}

// parseAnswer reads status, version, generation, what is left of the life in
// milliseconds, and the time in seconds and microseconds.
func parseAnswer(f []string) (store.Result, error) {
	if len(f) != 6 || statuses[f[0]] == 0 {
		return store.Result{}, fmt.Errorf("%w: a script answered %q", store.ErrCorrupt, f)
	}
	res := store.Result{Status: statuses[f[0]]}
	var err error
	if f[1] != "-" {
		if res.Version, err = clock.Parse(f[1]); err != nil {
			return res, fmt.Errorf("%w: a script answered version %q", store.ErrCorrupt, f[1])
		}
	}
	if res.Generation, err = parseGeneration(f[2]); err != nil {
		return res, err
	}
	left, err1 := strconv.ParseInt(f[3], 10, 64)
	seconds, err2 := strconv.ParseInt(f[4], 10, 64)
	micros, err3 := strconv.ParseInt(f[5], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return res, fmt.Errorf("%w: a script answered the times %q", store.ErrCorrupt, f[3:])
	}
	res.StoreTime = time.Unix(seconds, micros*1000)
	if left > 0 {
		res.ExpiresAt = res.StoreTime.Truncate(time.Millisecond).Add(time.Duration(left) * time.Millisecond)
	}
	return res, nil
}

var maxAhead = millis(clock.MaxAhead)

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func instant(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.UnixMilli(), 10)
}

func hexadecimal(n uint64) string { return strconv.FormatUint(n, 16) }

// textOf and bytesOf look at the same bytes in the other type. Payloads are not
// changed by anyone (package store), and replies belong to their reader.
func textOf(b []byte) string  { return rueidis.BinaryString(b) }
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

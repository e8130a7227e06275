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

// generationOf returns the key of the generation that a key's data is under;
// the directory has none.
func (s *Store) generationOf(o keys.Org) string { return s.opts.Space.Generation(o) }

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
	if len(ks) == 0 {
		return nil, nil
	}
	names := make([]string, len(ks)+1)
	for i, k := range ks {
		names[i] = k.String()
	}
	names[len(ks)] = s.generationOf(ks[0].Org())
	var values []rueidis.RedisMessage
	err := s.node.do(ctx, 1, func() (err error) {
		c := s.node.client
		values, err = c.Do(ctx, c.B().Mget().Key(names...).Build()).ToArray()
		return err
	})
	if err := classify(err, reading); err != nil {
		return nil, err
	}
	generation, err := toGeneration(values[len(ks)])
	if err != nil {
		return nil, err
	}
	rs := make([]store.Read, len(ks))
	for i := range ks {
		rs[i].Generation = generation
		if values[i].IsNil() {
			continue
		}
		text, err := values[i].ToString()
		if err != nil {
			return nil, classify(err, reading)
		}
		if foreign(text) {
			continue
		}
		if rs[i].Value, err = record.ParseValue(bytesOf(text)); err != nil {
			return nil, err
		}
		rs[i].Found = true
	}
	return rs, nil
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

func toGeneration(m rueidis.RedisMessage) (uint64, error) {
	if m.IsNil() {
		return 0, nil
	}
	text, err := m.ToString()
	if err != nil {
		return 0, classify(err, reading)
	}
	return parseGeneration(text)
}

func parseGeneration(text string) (uint64, error) {
	g, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: generation %q", store.ErrCorrupt, text)
	}
	return g, nil
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
		elements []rueidis.RedisMessage
		counter  rueidis.RedisMessage
	)
	err = s.node.do(ctx, 2, func() error {
		c := s.node.client
		rs := c.DoMulti(ctx,
			c.B().Lrange().Key(k.String()).Start(int64(-last)).Stop(-1).Build(),
			c.B().Get().Key(s.generationOf(k.Org())).Build())
		if elements, err = rs[0].ToArray(); err != nil {
			return err
		}
		counter, err = rs[1].ToMessage()
		return err
	})
	if err := classify(err, reading); err != nil {
		return log, false, err
	}
	if log.Generation, err = toGeneration(counter); err != nil {
		return log, false, err
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
// the guarded client, replays and imports on that for long jobs.
func (s *Store) send(ctx context.Context, mode store.Mode, f func(rueidis.Client) error) error {
	if mode == store.Live {
		return s.node.do(ctx, 1, func() error { return f(s.node.client) })
	}
	return s.job(func() error { return f(s.jobs) })
}

func (s *Store) set(ctx context.Context, op store.Op) (store.Result, error) {
	value := record.Value{Version: op.Version, Generation: op.Generation, Flags: op.Flags, Stored: op.Payload}
	stored := value.Append(make([]byte, 0, record.MaxHeader+len(op.Payload)))
	condition, seen, tombstone := "", "", "0"
	if op.Flags&record.Tombstone != 0 {
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
	var line string
	err := s.send(ctx, op.Mode, func(c rueidis.Client) (err error) {
		line, err = valueSet.run(ctx, c,
			[]string{op.Key.String(), s.generationOf(op.Key.Org())},
			[]string{
				textOf(stored), hexadecimal(op.Generation), millis(op.TTL), instant(op.ExpiresAt),
				condition, seen, maxAhead, tombstone,
			}).ToString()
		return err
	})
	if err := classify(err, writing); err != nil {
		return store.Result{}, err
	}
	return parseAnswer(strings.Fields(line))
}

func (s *Store) converse(ctx context.Context, op store.Op) (store.Result, error) {
	args := conversationArgs(op)
	var answer []string
	err := s.send(ctx, op.Mode, func(c rueidis.Client) (err error) {
		answer, err = conversation.run(ctx, c,
			[]string{op.Key.String(), s.opts.Space.Meta(op.Key), s.generationOf(op.Key.Org())}, args).AsStrSlice()
		return err
	})
	if err := classify(err, writing); err != nil {
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
	for _, p := range answer[7:] {
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

// Generation reads an organisation's generation.
func (s *Store) Generation(ctx context.Context, o keys.Org) (g uint64, err error) {
	var m rueidis.RedisMessage
	err = s.node.do(ctx, 1, func() (err error) {
		m, err = s.node.client.Do(ctx, s.node.client.B().Get().Key(s.generationOf(o)).Build()).ToMessage()
		return err
	})
	if err := classify(err, reading); err != nil {
		return 0, err
	}
	return toGeneration(m)
}

// Invalidate raises the generation above what is stored and known.
func (s *Store) Invalidate(ctx context.Context, o keys.Org, known uint64) (uint64, error) {
	return s.generation(ctx, generationBump, o, known)
}

// RaiseGeneration sets the generation to at least g.
func (s *Store) RaiseGeneration(ctx context.Context, o keys.Org, g uint64) (uint64, error) {
	return s.generation(ctx, generationRaise, o, g)
}

func (s *Store) generation(ctx context.Context, sc script, o keys.Org, n uint64) (uint64, error) {
	var text string
	err := s.node.do(ctx, 1, func() (err error) {
		text, err = sc.run(ctx, s.node.client, []string{s.generationOf(o)}, []string{strconv.FormatUint(n, 10)}).ToString()
		return err
	})
	if err := classify(err, writing); err != nil {
		return 0, err
	}
	return parseGeneration(text)
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

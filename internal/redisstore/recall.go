package redisstore

import (
	"context"
	_ "embed"
	"encoding/hex"

	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/record"
	"github.com/jackcache/jackcache/internal/store"
)

//go:embed lua/recall.lua
var recallSource string

var recall = newScript(recallSource)

// Recall adds to a conversation what another store remembered of it, in one
// script; see store.Past.
func (s *Store) Recall(ctx context.Context, p store.Past) error {
	args := make([]string, 3, 3+5*len(p.Trimmed))
	args[0], args[2] = hexadecimal(p.Generation), instant(p.Created)
	if p.TrimmedTo != (record.Order{}) {
		args[1] = p.TrimmedTo.String()
	}
	for _, m := range p.Trimmed {
		kept := "0"
		if m.Payload != nil {
			kept = "1"
		}
		head := record.Message{Order: m.At, Flags: m.Flags}.AppendHead(make([]byte, 0, record.OrderLen+3))
		args = append(args, textOf(head), record.EscapeID(m.ID), hex.EncodeToString(m.Digest[:]), kept, textOf(m.Payload))
	}
	key := p.Key.String()
	err := s.jobOn(ctx, key, func(c rueidis.Client) error {
		return recall.run(ctx, c, []string{key, s.opts.Space.Meta(p.Key)}, args).Error()
	})
	return classify(err, writing)
}

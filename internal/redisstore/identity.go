package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"

	"github.com/jackcache/jackcache/internal/store"
)

// tellLoss is how long health tells that the deployment came back empty.
const tellLoss = time.Hour

// Identity says which deployment a data directory belongs to: the key
// keys.Space.Store holds its id.
type Identity struct {
	// Record keeps the id across starts.
	Record Record
	// Adopt takes another deployment than the recorded one at the first contact,
	// and records it. Later it has no effect.
	Adopt bool
}

// Record is where an id is kept.
type Record interface {
	// ID returns the recorded id; empty: none.
	ID() string
	// Place returns where the store with that id was; empty: not known.
	Place() string
	// Remember records an id and a place durably.
	Remember(id, place string) error
	// Path names the record for messages.
	Path() string
}

// wrongStoreError refuses a deployment. It is an open breaker, too: nothing was
// sent, and no node is to blame.
type wrongStoreError struct{ text string }

func (e *wrongStoreError) Error() string { return e.text }

func (e *wrongStoreError) Unwrap() []error {
	return []error{store.ErrWrongStore, store.ErrBlocked, errOpen}
}

// identity is what is known of the deployment that the addresses lead to.
type identity struct {
	wrong atomic.Pointer[wrongStoreError] // why it is refused; nil: it is not

	mu     sync.Mutex // held while the deployment is asked
	proven bool       // guarded by mu: it was the right one since the start
	lost   time.Time  // guarded by told: when it was found without its id
	told   sync.Mutex
}

// refused is the error of a call to a node whose breaker is open.
func (s *Store) refused() error {
	if w := s.identity.wrong.Load(); w != nil {
		return w
	}
	return errOpen
}

// recognise refuses a server whose deployment is not the one that the data
// directory belongs to. A member of a Cluster that
// cannot reach the master of the id is admitted if the deployment was the right
// one before.
func (s *Store) recognise(ctx context.Context, n *node) error {
	if s.opts.Identity == nil {
		return nil
	}
	owner := n
	if l := s.layout.Load(); l.slots != nil {
		owner = l.node(s.opts.Space.Store())
	}
	err := errors.New("nobody serves the slot of the key that has the store's id")
	if owner != nil {
		err = s.identify(ctx, owner.link.Load().call())
	}
	s.identity.mu.Lock()
	defer s.identity.mu.Unlock()
	if err != nil && owner != n && s.identity.proven && s.identity.wrong.Load() == nil {
		return nil
	}
	return err
}

// identify asks the deployment for its id and compares it with the recorded
// one. Without either it makes one.
func (s *Store) identify(ctx context.Context, c rueidis.Client) error {
	d := &s.identity
	d.mu.Lock()
	defer d.mu.Unlock()
	record := s.opts.Identity.Record
	recorded := record.ID()
	found, err := s.storeID(ctx, c)
	if err != nil {
		return err
	}
	if found == "" {
		if s.elsewhere() && (!s.opts.Identity.Adopt || d.proven) {
			return s.refuseEmpty(recorded)
		}
		if found, err = s.giveID(ctx, c, recorded); err != nil {
			return err
		}
	}
	switch {
	case recorded == "":
		s.opts.Logger.Info("the data directory belongs to this redis from now on", "store", found, "record", record.Path())
	case found == recorded:
	case s.opts.Identity.Adopt && !d.proven:
		s.opts.Logger.Warn("the data directory belongs to another redis from now on", "store", found, "before", recorded, "record", record.Path())
	default:
		return s.refuse(recorded, found)
	}
	if err := record.Remember(found, s.opts.place()); err != nil {
		return err
	}
	d.proven = true
	d.wrong.Store(nil)
	return nil
}

func (s *Store) storeID(ctx context.Context, c rueidis.Client) (string, error) {
	id, err := c.Do(ctx, c.B().Get().Key(s.opts.Space.Store()).Build()).ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		return "", fmt.Errorf("read the store's id: %w", err)
	}
	return id, nil
}

// place is where the settings lead, in one line without credentials.
func (o Options) place() string {
	text := string(o.Mode) + " " + strings.Join(slices.Sorted(slices.Values(o.Addrs)), ",")
	if o.Mode == Sentinel {
		text += ", master " + o.Master
	}
	return fmt.Sprintf("%s, database %d", text, o.DB)
}

// elsewhere tells whether the settings lead to another place than the recorded
// one. A deployment without an id has not lost its data then: it never had it.
func (s *Store) elsewhere() bool {
	place := s.opts.Identity.Record.Place()
	return place != "" && place != s.opts.place()
}

// giveID gives a deployment without an id the recorded one if it is in the
// recorded place, or a new one: no id is ever in two places. Of several instances that do so at a time the first wins. It returns the id that the
// deployment has then.
func (s *Store) giveID(ctx context.Context, c rueidis.Client, recorded string) (string, error) {
	id := recorded
	if id == "" || s.elsewhere() {
		id = uuid.NewString()
	} else {
		s.lostData(id)
	}
	err := c.Do(ctx, c.B().Set().Key(s.opts.Space.Store()).Value(id).Nx().Build()).Error()
	if err != nil && !rueidis.IsRedisNil(err) {
		return "", fmt.Errorf("write the store's id: %w", err)
	}
	found, err := s.storeID(ctx, c)
	if err == nil && found == "" {
		err = errors.New("the store's id does not stay where it was written")
	}
	return found, err
}

// lostData notes that the deployment came back empty.
func (s *Store) lostData(id string) {
	s.identity.told.Lock()
	again := time.Since(s.identity.lost) < tellLoss
	s.identity.lost = time.Now()
	s.identity.told.Unlock()
	if n := s.layout.Load().node(s.opts.Space.Store()); n != nil {
		n.doubt.happened("the id of the store is gone")
	}
	s.opts.Logger.Error("redis has lost its data: the id of the store is gone from it; it gets the recorded one again", "store", id, "again", again)
}

// refuse makes calls fail until the deployment is the recorded one.
func (s *Store) refuse(recorded, found string) error {
	return s.refuseWith(recorded, found, fmt.Sprintf(
		"redis (%s) is the store %s, but the data directory belongs to %s (%s): check the address and the database, or take the new one with JACKCACHE_ADOPT=on (--adopt, Options.Adopt)",
		s.opts.place(), found, recorded, s.opts.Identity.Record.Path()))
}

// refuseEmpty does that to a deployment without an id in another place.
func (s *Store) refuseEmpty(recorded string) error {
	return s.refuseWith(recorded, "", fmt.Sprintf(
		"redis (%s) holds no data of jackcache, and the data directory belongs to the store %s (%s) in another place (%s): check the address and the database; if the move is meant, take the new one with JACKCACHE_ADOPT=on (--adopt, Options.Adopt)",
		s.opts.place(), recorded, s.opts.Identity.Record.Path(), s.opts.Identity.Record.Place()))
}

func (s *Store) refuseWith(recorded, found, text string) error {
	w := &wrongStoreError{text: text}
	if old := s.identity.wrong.Swap(w); old == nil || old.text != w.text {
		s.opts.Logger.Error("redis is not the store that the data directory belongs to; nothing is read from it or written to it",
			"store", found, "place", s.opts.place(), "recorded", recorded, "recordedPlace", s.opts.Identity.Record.Place())
	}
	return w
}

// recheck asks a deployment that serves for its id: data may be lost, or another
// server stand in its place, without a connection having ended.
func (s *Store) recheck(ctx context.Context) {
	if s.opts.Identity == nil {
		return
	}
	err := s.jobOn(ctx, s.opts.Space.Store(), func(c rueidis.Client) error { return s.identify(ctx, c) })
	if !errors.Is(err, store.ErrWrongStore) || errors.Is(err, context.Canceled) {
		return // a server that is away is found out by those who call it
	}
	for _, n := range s.layout.Load().masters {
		n.breaker.Trip(err.Error())
	}
}

// identified adds to health what is known of the identity.
func (s *Store) identified(h store.Health) store.Health {
	if w := s.identity.wrong.Load(); w != nil {
		h.Blocked, h.Problem = true, w.text
		if h.State == store.Up {
			h.State = store.Down
		}
	}
	s.identity.told.Lock()
	lost := s.identity.lost
	s.identity.told.Unlock()
	if !lost.IsZero() && time.Since(lost) < tellLoss {
		h.Warnings = append(h.Warnings, "redis had lost its data at "+lost.UTC().Format(time.RFC3339)+
			" (it was there without the store's id); "+s.afterLoss()+"; give it persistence, or replicas")
	}
	return h
}

// afterLoss says what becomes of what a deployment held that came back empty.
func (s *Store) afterLoss() string {
	if s.opts.Witness == nil {
		return "what it held is gone"
	}
	return "it is given again what the journals of the instances hold"
}

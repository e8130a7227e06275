package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/internal/clock"
	"github.com/jackcache/jackcache/internal/journal"
	"github.com/jackcache/jackcache/internal/keys"
)

const (
	startBytes = 1 << 30
	// startTalks is how many conversations have the records of that journal:
	// some 20 messages each.
	startTalks = 150_000
	// startRounds is how often it is opened; the median counts.
	startRounds = 3
)

// started measures the time to open a data directory whose journal has 1 GiB, and
// the memory of its index. The files are in the page cache.
func started(dir string) error {
	r, err := newRig(filepath.Join(dir, "start"), jackcache.Options{})
	if err != nil {
		return err
	}
	defer r.close()
	ctx := context.Background()
	if err := r.Close(ctx); err != nil {
		return err
	}
	space, err := keys.NewSpace(keys.Dev)
	if err != nil {
		return err
	}
	path := filepath.Join(r.dir, "data", "journal", "dev")
	records, err := grow(path, space)
	if err != nil {
		return err
	}
	var alone, whole []time.Duration
	var bytes []float64
	for range startRounds {
		before := heap()
		start := time.Now()
		j, err := openJournal(path, space)
		if err != nil {
			return err
		}
		alone = append(alone, time.Since(start))
		bytes = append(bytes, float64(heap()-before))
		err = j.Close(ctx)
		j = nil
		if err != nil {
			return err
		}
		start = time.Now()
		if err := r.open(jackcache.Options{}); err != nil {
			return err
		}
		whole = append(whole, time.Since(start))
		if err := r.Close(ctx); err != nil {
			return err
		}
	}
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	index := median(bytes, func(b float64) float64 { return b })
	fmt.Printf("| start with a journal of 1 GiB, %d records of %d conversations: the journal alone; all of it | %.2f s; %.2f s |\n",
		records, startTalks, median(alone, seconds), median(whole, seconds))
	fmt.Printf("| memory of that journal's index | %.0f MiB, %.0f B each record |\n", index/(1<<20), index/float64(records))
	return nil
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// grow fills a journal with appends that Redis has, and returns how many.
func grow(path string, space keys.Space) (records int, err error) {
	j, err := openJournal(path, space)
	if err != nil {
		return 0, err
	}
	ctx := context.Background()
	defer func() {
		if e := j.Close(ctx); err == nil {
			err = e
		}
	}()
	templates, err := talkRecords(space, startTalks)
	if err != nil {
		return 0, err
	}
	batch := make([]*journal.Record, 500)
	for j.Stats().Bytes < startBytes {
		for i := range batch {
			rec := templates[records%startTalks]
			now := time.Now()
			rec.Kind, rec.Time, rec.Op.ExpiresAt = journal.Applied, now, now.Add(2*time.Hour)
			rec.Op.Version = clock.NewVersion(now.UnixMilli(), uint16(records), 1)
			m := rec.Op.Messages[0]
			m.ID = "SM01234567-" + strconv.Itoa(records)
			rec.Op.Messages = append(rec.Op.Messages[:0:0], m)
			batch[i], records = &rec, records+1
		}
		if err := j.Append(ctx, false, batch...); err != nil {
			return records, err
		}
	}
	return records, nil
}

package filestore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/jackcache/jackcache/internal/clock"
)

const (
	// compactFrom is the size below which a file is left as it is.
	compactFrom = 1 << 20

	// compactSuffix marks a copy that is not complete yet.
	compactSuffix = ".compact"

	// compactTxBytes bounds the memory that a compaction takes.
	compactTxBytes = 8 << 20
)

// openCompacted opens the file and, when more than half of it is free, puts a
// copy without the free pages in its place.
//
// The copy is complete and on disk before it takes the name, and the old file
// stays locked until then, so that a crash leaves one or the other. What a
// crash leaves of a copy is removed under the lock.
func openCompacted(path string, log *slog.Logger) (*bbolt.DB, error) {
	db, err := openFile(path)
	if errors.Is(err, errSwapped) {
		db, err = openFile(path)
	}
	if err != nil {
		return nil, err
	}
	tmp := path + compactSuffix
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = db.Close() // nothing was written
		return nil, fmt.Errorf("remove unfinished compaction: %w", err)
	}
	before := usageOf(db)
	if before.size <= compactFrom || before.used() >= before.size/2 {
		return db, nil
	}
	if err := copyFile(db, tmp); err != nil {
		// It saves room only; a full disk is no reason not to serve.
		log.Warn("store file was not compacted", "file", path, "err", err)
		_ = os.Remove(tmp) // the next Open tries again
		return db, nil
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = db.Close() // nothing was written
		return nil, fmt.Errorf("compact %s: %w", path, err)
	}
	if err := errors.Join(clock.SyncDir(filepath.Dir(path)), db.Close()); err != nil {
		return nil, fmt.Errorf("compact %s: %w", path, err)
	}
	if db, err = openFile(path); err != nil {
		return nil, err
	}
	log.Info("store file compacted", "file", path, "bytesBefore", before.size, "bytes", usageOf(db).size)
	return db, nil
}

// copyFile writes the content of src, without free pages, to a file of its own
// and syncs it.
func copyFile(src *bbolt.DB, path string) (err error) {
	defer recoverCorrupt(&err)()
	dst, err := bbolt.Open(path, 0o600, &bbolt.Options{
		NoSync:       true, // once at the end is enough: the file has no name yet
		NoGrowSync:   true,
		FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return err
	}
	err = bbolt.Compact(dst, src, compactTxBytes)
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}

// usage is how much of a file is in use.
type usage struct {
	size int64 // up to the highest page ever used
	free int64
}

func (u usage) used() int64 { return u.size - u.free }

// usageOf is exact when no transaction for writing is open.
func usageOf(db *bbolt.DB) usage {
	var u usage
	if err := db.View(func(tx *bbolt.Tx) error {
		u.size = tx.Size()
		return nil
	}); err != nil {
		return usage{} // closed
	}
	st := db.Stats()
	u.free = int64(st.FreePageN+st.PendingPageN) * int64(db.Info().PageSize)
	return u
}

package journal

import "io"

// files is the directory of a journal: what the log needs of a file system.
// Names are bare. Every method may wait for the disk.
type files interface {
	// list returns the names of all files.
	list() ([]string, error)
	// create makes an empty file, in place of one that has the name.
	create(name string) (file, error)
	open(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	// sync makes the names durable.
	sync() error
	// free returns how many bytes can still be written.
	free() (int64, error)
}

// file is one file of a journal. ReadAt may run at the same time as the others.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	size() (int64, error)
}

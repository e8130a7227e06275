package migrate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/semaphore"
)

// inFlightBytes bounds the lines that all imports of the process hold at a time.
const inFlightBytes = 64 << 20

// room is what is left of them.
var room = semaphore.NewWeighted(inFlightBytes)

// errLong means that a line was longer than allowed and was skipped.
var errLong = errors.New("line too long")

// counter counts the bytes that were read through it.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

var (
	gzipMagic = []byte{0x1f, 0x8b}
	utf8BOM   = []byte{0xef, 0xbb, 0xbf}
)

// lines reads an input line by line, decompressed.
type lines struct {
	r    *bufio.Reader
	max  int
	line int // of what next returned last, from 1
}

func newLines(r io.Reader, maxLine int) (*lines, error) {
	const buffer = 256 << 10
	br := bufio.NewReaderSize(r, buffer)
	// A short input is not an error here: the reading below finds its end.
	if magic, _ := br.Peek(len(gzipMagic)); bytes.Equal(magic, gzipMagic) {
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("read gzip: %w", err)
		}
		br = bufio.NewReaderSize(zr, buffer)
	}
	if bom, _ := br.Peek(len(utf8BOM)); bytes.Equal(bom, utf8BOM) {
		if _, err := br.Discard(len(utf8BOM)); err != nil {
			return nil, fmt.Errorf("read: %w", err)
		}
	}
	return &lines{r: br, max: maxLine}, nil
}

// next returns the next line without white space around it. It is the caller's,
// as is the room for it, len(line) bytes, which is taken before the line is
// copied. Errors: errLong, after which it can go on, io.EOF, that of ctx, or
// what the reader returned.
func (l *lines) next(ctx context.Context) ([]byte, error) {
	l.line++
	part, err := l.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return l.long(ctx, part)
	case err != nil && (len(part) == 0 || !errors.Is(err, io.EOF)):
		return nil, err
	case len(part) > l.max+1:
		return nil, errLong
	}
	part = bytes.TrimSpace(part)
	if len(part) == 0 {
		return nil, nil
	}
	if err := room.Acquire(ctx, int64(len(part))); err != nil {
		return nil, err
	}
	return bytes.Clone(part), nil
}

// long is next for a line that is longer than the buffer. Room for the longest
// is taken at once: lines that grow step by step could wait for one another
// for ever.
func (l *lines) long(ctx context.Context, part []byte) (line []byte, err error) {
	var held int64
	defer func() { room.Release(held - int64(len(line))) }()
	if len(part) <= l.max+1 {
		if err := room.Acquire(ctx, int64(l.max)); err != nil {
			return nil, err
		}
		held = int64(l.max)
	}
	read := bufio.ErrBufferFull
	for {
		// A line that is too long is read on, to its end, and not kept.
		if held > 0 && len(line)+len(part) > l.max+1 {
			room.Release(held)
			held, line = 0, nil
		}
		if held > 0 {
			line = append(line, part...)
		}
		if !errors.Is(read, bufio.ErrBufferFull) {
			break
		}
		part, read = l.r.ReadSlice('\n')
	}
	switch {
	case read != nil && !errors.Is(read, io.EOF):
		return nil, read
	case held == 0:
		return nil, errLong
	}
	if line = bytes.TrimSpace(line); len(line) > l.max {
		return nil, errLong
	}
	return line, nil
}

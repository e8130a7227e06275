package migrate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

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

// next returns the next line without white space around it; it is the
// caller's. Errors: errLong, after which it can go on, io.EOF, or what the
// reader returned.
func (l *lines) next() ([]byte, error) {
	l.line++
	var (
		line []byte
		long bool
	)
	for {
		part, err := l.r.ReadSlice('\n')
		if long = long || len(line)+len(part) > l.max+1; long {
			line = nil
		} else {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (long || len(line) > 0):
		case err != nil:
			return nil, err
		}
		if long {
			return nil, errLong
		}
		return bytes.TrimSpace(line), nil
	}
}

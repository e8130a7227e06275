package migrate

import (
	"context"
	"errors"
	"strings"

	"github.com/jackcache/jackcache"
)

var errPanic = errors.New("this entry met a defect of the program; its log says more")

// ofInput are the errors whose text speaks of the input.
var ofInput = []error{jackcache.ErrInvalid, jackcache.ErrTooLarge, jackcache.ErrConflict, jackcache.ErrDisabled}

// ofStore are the others, in words that do not tell where the store is.
var ofStore = []struct{ err, told error }{
	{jackcache.ErrUnknown, errors.New("the store did not answer, and the entry may be stored or not: import it again")},
	{jackcache.ErrUnavailable, errors.New("the store is unavailable: import the entry again")},
	{jackcache.ErrFull, errors.New("the store is full")},
	{jackcache.ErrRejected, errors.New("the store rejects the entry")},
	{jackcache.ErrCorrupt, errors.New("what is stored already cannot be read")},
	{jackcache.ErrClosed, errors.New("the cache was closed: import the entry again")},
	{context.Canceled, errors.New("the import was stopped: import the entry again")},
	{context.DeadlineExceeded, errors.New("the import ran out of time: import the entry again")},
	{errPanic, errPanic},
}

// storing returns an error of storing an entry as a report may have it.
func storing(err error) error {
	for _, s := range ofStore {
		if errors.Is(err, s.err) {
			return s.told
		}
	}
	for _, class := range ofInput {
		if errors.Is(err, class) {
			return err
		}
	}
	return errors.New("the entry could not be stored")
}

// text is that of an error without the name of its class.
func text(err error) string {
	s := err.Error()
	for _, class := range ofInput {
		s = strings.ReplaceAll(s, class.Error()+": ", "")
	}
	return s
}

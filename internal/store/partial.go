package store

import "fmt"

// PartialError says that some reads of a call for several could not be answered. Those
// that could are in the call's results.
type PartialError struct {
	// Errs has the error of each read, in the order of the call; nil: it was answered.
	Errs []error
}

// Error tells how many there are, and the first.
func (e *PartialError) Error() string {
	failed := e.Unwrap()
	if len(failed) == 0 {
		return "all reads were answered"
	}
	return fmt.Sprintf("%d of %d reads cannot be answered; the first: %v", len(failed), len(e.Errs), failed[0])
}

// Unwrap gives the errors of those that could not be answered.
func (e *PartialError) Unwrap() (failed []error) {
	for _, err := range e.Errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// JoinErrors is the error of a call for several reads, each of which has its error here;
// nil where all were answered.
func JoinErrors(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &PartialError{Errs: errs}
		}
	}
	return nil
}

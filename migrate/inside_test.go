package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// A panic fails its entry; the stack is in the log alone.
func TestPanicFailsItsEntry(t *testing.T) {
	var log bytes.Buffer
	a, err := assistant.Open(t.Context(), jackcache.Options{DataDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}, assistant.TTLs{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Close(t.Context()) }()
	raw, err := a.Cache.RawKind(assistant.PhoneToLeadKind)
	if err != nil {
		t.Fatal(err)
	}
	o := ImportOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}.withDefaults()
	im := &importer{o: o, input: &counter{}, patient: newPatience(-1), last: make(map[string]chan struct{})}
	j := &job{line: 7, done: make(chan struct{}), entry: entry{
		target: target{form: leadForm, raw: raw}, org: a.Cache.Org("o"), orgID: "o",
		id: "+16045550001", refer: "lead", value: []byte(`{"leadId":"lead"}`),
	}} // the importer has no assistant to look for the way back with
	im.run(t.Context(), j)
	if im.report.Failed != 1 || im.report.Problems[0] != (Problem{Line: 7, Fate: "failed", Reason: errPanic.Error()}) {
		t.Errorf("report %+v", im.report)
	}
	if !strings.Contains(log.String(), "line=7") || !strings.Contains(log.String(), "apply.go") {
		t.Errorf("the log lacks the stack: %s", &log)
	}
	select {
	case <-j.done:
	default:
		t.Error("the entry is not done")
	}
}

// All room that lines take comes back, whatever they are.
func TestRoomIsTakenBeforeALineIsCopied(t *testing.T) {
	long := strings.Repeat("x", 300<<10)
	in, err := newLines(strings.NewReader("a\n\n"+long+"\n"+long+long+"\n  "+long+"  \nb"), 400<<10)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0, len(long), -1, len(long), 1} {
		data, err := in.next(t.Context())
		if want < 0 {
			if !errors.Is(err, errLong) {
				t.Errorf("line %d: %v, want %v", i+1, err, errLong)
			}
			want = 0
		} else if err != nil || len(data) != want {
			t.Fatalf("line %d: %d bytes, %v; want %d", i+1, len(data), err, want)
		}
		rest := int64(inFlightBytes - want)
		if !room.TryAcquire(rest) || room.TryAcquire(1) {
			t.Fatalf("line %d holds other than %d bytes", i+1, want)
		}
		room.Release(inFlightBytes)
	}
	if o := (ImportOptions{MaxLine: 1 << 30}).withDefaults(); o.MaxLine != inFlightBytes {
		t.Errorf("MaxLine is %d, want at most %d", o.MaxLine, inFlightBytes)
	}
}

func TestReasonsDoNotTellWhereTheStoreIs(t *testing.T) {
	inner := errors.New("dial tcp 10.1.2.3:6379: refused")
	for _, class := range []error{jackcache.ErrUnavailable, jackcache.ErrUnknown, jackcache.ErrRejected, jackcache.ErrFull, inner} {
		if got := text(storing(fmt.Errorf("import: %w: %w", class, inner))); strings.Contains(got, "10.1.2.3") {
			t.Errorf("%v: reason %q", class, got)
		}
	}
	err := fmt.Errorf("%w: role is missing", jackcache.ErrInvalid)
	if got := text(storing(err)); got != "role is missing" {
		t.Errorf("reason %q", got)
	}
}

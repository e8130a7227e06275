package keys

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMasked(t *testing.T) {
	for raw, want := range map[string]string{
		"16049085474": "…74", "+16049085474": "…74", "agent-1": "ag…", "lead 4711": "le…", "äöüäöüäöü": "äö…",
		"1": "…", "+123": "…", "agent1": "…", "": "", "++123456789": "++…", "123456+": "12…",
	} {
		if got := (ID{raw: raw}).Masked(); got != want {
			t.Errorf("%q is shown as %q, want %q", raw, got, want)
		}
	}
}

// TestMaskedNeverShowsAnID: of no id more than two characters are shown.
func TestMaskedNeverShowsAnID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, err := ParseID(rapid.String().Draw(t, "id"))
		if err != nil {
			return
		}
		shown := strings.ReplaceAll(id.Masked(), "…", "")
		if n := len([]rune(shown)); n > 2 || shown == id.String() && !strings.Contains(id.String(), "…") {
			t.Errorf("of %q is shown %q", id, id.Masked())
		}
	})
}

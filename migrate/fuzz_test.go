package migrate_test

import (
	"bytes"
	"testing"

	"github.com/jackcache/jackcache/migrate"
)

// FuzzImportLine: whatever the input is, the counts add up, and what was
// imported is unchanged by the same input, unless one key comes twice in it.
func FuzzImportLine(f *testing.F) {
	for _, s := range []string{
		`{"map":"conversationContexts","key":"o:+16045550001","value":[{"role":"user","content":"hi"}]}`,
		`{"map":"conversationSummaries","key":"o:6045550001","value":{"text":"x","y":1}}`,
		`{"map":"phoneToLeadMapping","key":"tel:+16045550001","value":"l"}`,
		`{"map":"phoneToLeadMapping","org":"a:b","id":"+16045550001","value":"l"}`,
		`{"map":"organizationCache","key":"o","value":{}}`,
		`{"map":"agentConfig","key":"o:` + "\u2028" + `","value":"\ud800"}`,
		"\x1f\x8b", "\ufeff", "[]", "\n\n", `{"map":{},"key":[],"value":0}`,
	} {
		f.Add([]byte(s))
	}
	a := open(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		o := migrate.ImportOptions{MaxLine: 1 << 16, IncludeDirectory: len(data)%2 == 0, Concurrency: 2}
		first, err := migrate.Import(t.Context(), a, bytes.NewReader(data), o)
		checkSum(t, first)
		second, err2 := migrate.Import(t.Context(), a, bytes.NewReader(data), o)
		checkSum(t, second)
		if (err == nil) != (err2 == nil) || first.Seen != second.Seen || first.Failed != second.Failed {
			t.Errorf("first %+v, %v\nsecond %+v, %v", first, err, second, err2)
		}
		if first.Seen == 1 && second.Imported > 0 {
			t.Errorf("the second import changed something: %+v", second)
		}
	})
}

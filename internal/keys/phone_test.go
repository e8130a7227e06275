package keys

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// spellings are one person's number, +1 (604) 908-5474.
var spellings = []string{
	"+1 (604) 908-5474",
	"+16049085474",
	"(604) 908-5474",
	"604-908-5474",
	"604.908.5474",
	"604 908 5474",
	"6049085474",
	"16049085474",
	"1-604-908-5474",
	"tel:+1-604-908-5474",
	"whatsapp:+16049085474",
	"0016049085474",
	// And a dozen that come from copying, other keyboards and other scripts.
	"  +1 604 908 5474\n",
	"TEL: (604) 908-5474",
	"WhatsApp:16049085474",
	"001 (604) 908-5474",
	"＋１６０４９０８５４７４",
	"６０４９０８５４７４",
	"٦٠٤٩٠٨٥٤٧٤",
	"+१ (६०४) ९०८-५४७४",
	"604–908—5474",
	"604/908/5474",
	"\u202a+1 604 908 5474\u202c",
	"+1\u00a0604\u00a0908\u00a05474",
}

func TestSpellings(t *testing.T) {
	for _, s := range spellings {
		for _, region := range []string{"US", "CA"} {
			if p, err := ParsePhone(s, region); err != nil || p.String() != "+16049085474" {
				t.Errorf("%q in %s: %q, %v", s, region, p, err)
			}
		}
	}
}

func TestPhones(t *testing.T) {
	for _, c := range []struct{ in, region, want string }{
		{"+1234567890", "US", "+1234567890"}, // unknown to the plan, valid in form
		{"+123", "", "+123"},
		{"+999999999999999", "US", "+999999999999999"},
		{"00442079460958", "", "+442079460958"},
		{"020 7946 0958", "GB", "+442079460958"},
		{"06 12 34 56 78", "FR", "+33612345678"},
		{"1-800-FLOWERS", "US", "+18003569377"},
		{"011 44 20 7946 0958", "US", "+442079460958"},
		{"+44 20 7946 0958", "US", "+442079460958"},
		{"(212) 555-0123", "US", "+12125550123"},
	} {
		p, err := ParsePhone(c.in, c.region)
		if err != nil || p.String() != c.want {
			t.Errorf("%q in %q: %q, %v; want %q", c.in, c.region, p, err, c.want)
			continue
		}
		if got := p.DigitsID().String(); got != c.want[1:] {
			t.Errorf("%q: digits %q", c.in, got)
		}
		if got := p.PlusID().String(); got != c.want {
			t.Errorf("%q: with plus %q", c.in, got)
		}
	}
}

func TestPhonesRefused(t *testing.T) {
	for _, c := range []struct{ in, region string }{
		{"", "US"}, {" ", "US"}, {"+", "US"}, {"+1", "US"}, {"+12", "US"}, {"00", "US"}, {"tel:", "US"},
		{"+1234567890123456", "US"}, {"+1604908547x", "US"}, {"+1 604 908 5474 ext 5", "US"}, {"604-908-5474 x5", "US"},
		{"hello", "US"}, {"12", "US"}, {"6049085474", ""}, {"6049085474", "XX"}, {"604:908:5474", ""}, {"+1604908*", "US"},
		{"+1604;DROP", "US"}, {"+{1604}", "US"}, {"+1604\x00908", "US"}, {strings.Repeat("1", MaxPart+1), "US"}, {"++16049085474", "US"},
		{"+1604908547\xff", "US"}, {"+-16049085474+", "US"},
	} {
		if p, err := ParsePhone(c.in, c.region); !errors.Is(err, ErrInvalid) || !p.IsZero() {
			t.Errorf("%q in %q: %q, %v", c.in, c.region, p, err)
		}
	}
}

// TestNorthAmericanAgrees: the fast path gives what the full parse gives, for
// every number that the full parse takes.
func TestNorthAmericanAgrees(t *testing.T) {
	separators := []string{"", " ", "-", ".", "(", ") ", "/"}
	fast := 0
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`1?[0-9]{10}`).Draw(t, "digits")
		text := ""
		for _, d := range digits {
			if rapid.IntRange(0, 3).Draw(t, "separated") == 0 {
				text += rapid.SampledFrom(separators).Draw(t, "separator")
			}
			text += string(d)
		}
		region := rapid.SampledFrom([]string{"US", "CA"}).Draw(t, "region")
		p, ok := northAmerican(text, region)
		if !ok {
			return
		}
		fast++
		full, err := inRegion(text, text, region)
		if err != nil || full != p {
			t.Fatalf("%q in %s: fast %q, in full %q, %v", text, region, p, full, err)
		}
	})
	if fast == 0 {
		t.Error("the fast path was never taken")
	}
}

// TestPhoneIsStable: what ParsePhone gives it gives again, in every region.
func TestPhoneIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.StringMatching(`\+?[0-9 ().-]{3,20}`), rapid.SampledFrom(spellings), rapid.String()).Draw(t, "phone")
		p, err := ParsePhone(s, rapid.SampledFrom([]string{"", "US", "CA", "GB", "DE", "IN"}).Draw(t, "region"))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		for _, region := range []string{"", "US", "GB"} {
			if again, err := ParsePhone(p.String(), region); err != nil || again != p {
				t.Fatalf("%q gives %q, that gives %q, %v", s, p, again, err)
			}
		}
		if !isE164(p.String()) {
			t.Fatalf("%q gives %q", s, p)
		}
	})
}

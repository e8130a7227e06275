package keys

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
)

// Lengths of a phone number in digits. E.164 allows up to 15; shorter ones
// than a short code are typing errors.
const (
	minPhoneDigits = 3
	maxPhoneDigits = 15
)

// DefaultRegion is the region in which numbers without a country code are read.
const DefaultRegion = "US"

// Phone is one person's number in E.164 form, "+" and digits. It is built by
// ParsePhone only.
type Phone struct{ e164 string }

// String returns the E.164 form.
func (p Phone) String() string { return p.e164 }

// IsZero reports whether p is no phone.
func (p Phone) IsZero() bool { return p.e164 == "" }

// DigitsID returns the id of kinds that keep a phone as digits.
func (p Phone) DigitsID() ID { d := p.e164[1:]; return ID{raw: d, esc: d} }

// PlusID returns the id of kinds that keep a phone with its plus sign.
func (p Phone) PlusID() ID { return ID{raw: p.e164, esc: p.e164} }

// ParsePhone normalises a phone number. "tel:" and "whatsapp:" are dropped;
// with "+" or "00" the digits are taken as given; anything else is read in the
// region (ISO 3166-1 alpha-2), or refused when the region is empty or the
// number is not possible there. What is valid in form but unknown to the
// numbering plan is kept.
func ParsePhone(s, region string) (Phone, error) {
	if isE164(s) {
		return Phone{s}, nil
	}
	if len(s) > MaxPart {
		return Phone{}, fmt.Errorf("%w phone: it has %d bytes; allowed are 1 to %d", ErrInvalid, len(s), MaxPart)
	}
	n := dropScheme(trim(s))
	if rest, ok := international(n); ok {
		digits, ok := onlyDigits(rest)
		if !ok || len(digits) < minPhoneDigits || len(digits) > maxPhoneDigits {
			return Phone{}, fmt.Errorf("%w phone %q: after + or 00 it wants %d to %d digits", ErrInvalid, s, minPhoneDigits, maxPhoneDigits)
		}
		return Phone{"+" + digits}, nil
	}
	if p, ok := northAmerican(n, region); ok {
		return p, nil
	}
	return inRegion(s, n, region)
}

func isE164(s string) bool {
	if len(s) < minPhoneDigits+1 || len(s) > maxPhoneDigits+1 || s[0] != '+' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// trim drops spaces and invisible marks around a number: phones copied from an
// address book begin with a text direction.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) })
}

func dropScheme(s string) string {
	for _, scheme := range []string{"tel:", "whatsapp:"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			return trim(s[len(scheme):])
		}
	}
	return s
}

// international returns what follows "+" (also the full-width one) or "00".
func international(s string) (string, bool) {
	for _, p := range []string{"+", "＋", "00"} {
		if rest, ok := strings.CutPrefix(s, p); ok {
			return rest, true
		}
	}
	return "", false
}

// onlyDigits drops what people write between digits and maps the digits of
// other scripts to ASCII; false when anything else is there.
func onlyDigits(s string) (string, bool) {
	b := make([]byte, 0, maxPhoneDigits+1)
	for _, r := range s {
		v, other := digitValue(r)
		switch {
		case r >= '0' && r <= '9':
			b = append(b, byte(r))
		case other:
			b = append(b, '0'+v)
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r), r == '.', r == '(', r == ')', r == '/', unicode.Is(unicode.Cf, r):
		default:
			return "", false
		}
	}
	return string(b), true
}

// digitZeros are the zeros of the scripts whose digits people type for phones:
// full-width, Arabic-Indic, Extended Arabic-Indic, Devanagari, Bengali.
var digitZeros = []rune{'０', '٠', '۰', '०', '০'}

func digitValue(r rune) (byte, bool) {
	for _, zero := range digitZeros {
		if r >= zero && r <= zero+9 {
			return byte(r - zero), true
		}
	}
	return 0, false
}

// northAmerican is a fast path for numbers of ten digits, or eleven with the
// leading 1, in the regions of the North American plan that customers use most;
// a full parse costs 55 µs.
func northAmerican(s, region string) (Phone, bool) {
	if region != "US" && region != "CA" {
		return Phone{}, false
	}
	d, ok := onlyDigits(s)
	if ok && len(d) == 11 && d[0] == '1' {
		d = d[1:]
	}
	if !ok || len(d) != 10 || d[0] < '2' || d[3] < '2' {
		return Phone{}, false
	}
	return Phone{"+1" + d}, true
}

func inRegion(given, n, region string) (Phone, error) {
	refuse := fmt.Errorf("%w phone %q: not possible in region %q; write it with + and the country code", ErrInvalid, given, region)
	if region == "" {
		return Phone{}, fmt.Errorf("%w phone %q: write it with + and the country code", ErrInvalid, given)
	}
	num, err := phonenumbers.Parse(n, region)
	if err != nil || !phonenumbers.IsPossibleNumber(num) || num.GetExtension() != "" {
		return Phone{}, refuse
	}
	e164 := phonenumbers.Format(num, phonenumbers.E164)
	if !isE164(e164) {
		return Phone{}, refuse
	}
	return Phone{e164}, nil
}

package jackcache

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackcache/jackcache/internal/keys"
)

// reserved are key types that are not for kinds.
var reserved = map[keys.Type]bool{keys.Conversations: true}

func checkKind(o KindOptions) error {
	bad := func(field string, got any, want string) error {
		return fmt.Errorf("%w: kind %q: %s is %v: allowed are %s", ErrInvalid, o.Name, field, got, want)
	}
	var errs []error
	if _, err := keys.ParseType(o.Name); err != nil {
		errs = append(errs, bad("Name", fmt.Sprintf("%q", o.Name), "a letter, then letters and digits, 64 at most"))
	}
	if t, err := keys.ParseType(o.KeyType); err != nil || reserved[t] {
		errs = append(errs, bad("KeyType", fmt.Sprintf("%q", o.KeyType), "a letter, then letters and digits, 64 at most, and not that of conversations"))
	}
	if o.TTL < 1e6 || o.TTL > MaxTTL {
		errs = append(errs, bad("TTL", o.TTL, "1ms to "+MaxTTL.String()))
	}
	if o.Sliding && (o.MaxLife < o.TTL || o.MaxLife > MaxTTL) {
		errs = append(errs, bad("MaxLife", o.MaxLife, "the TTL, "+o.TTL.String()+", to "+MaxTTL.String()))
	}
	if !o.Sliding && o.MaxLife != 0 {
		errs = append(errs, bad("MaxLife", o.MaxLife, "0 where Sliding is not set: the TTL is the life from the write"))
	}
	if o.MaxBytes < 1 || o.MaxBytes > 32<<20 {
		errs = append(errs, bad("MaxBytes", o.MaxBytes, "1 to 32 MiB"))
	}
	errs = append(errs, checkLoading(o, bad)...)
	if o.ID > LeadID {
		errs = append(errs, bad("ID", o.ID, "the IDForm constants"))
	}
	if o.Directory && (o.ID != PlusPhoneID || o.KeyType != string(keys.PhoneToLead)) {
		errs = append(errs, bad("Directory", o.Directory, "only for the kind with PlusPhoneID and the key type phoneToLead"))
	}
	if o.Name == ConversationKind {
		errs = append(errs, bad("Name", fmt.Sprintf("%q", o.Name), "all but that of conversations"))
	}
	return errors.Join(errs...)
}

// checkLoading checks what a kind says of stale values and of loads.
func checkLoading(o KindOptions, bad func(field string, got any, want string) error) (errs []error) {
	copies := "zero, for a kind without ServeStale or without copies in the process"
	stale := o.ServeStale && o.NearTTL > 0
	switch {
	case o.StaleFor < 0 || o.StaleFor > MaxTTL:
		errs = append(errs, bad("StaleFor", o.StaleFor, "0 to "+MaxTTL.String()))
	case o.StaleFor > 0 && !stale:
		errs = append(errs, bad("StaleFor", o.StaleFor, copies))
	}
	switch {
	case o.SoftTimeout < 0:
		errs = append(errs, bad("SoftTimeout", o.SoftTimeout, "zero and more"))
	case o.SoftTimeout > 0 && !stale:
		errs = append(errs, bad("SoftTimeout", o.SoftTimeout, copies))
	}
	if o.HardTimeout < 0 || o.HardTimeout > 0 && o.HardTimeout < o.SoftTimeout {
		errs = append(errs, bad("HardTimeout", o.HardTimeout, "zero, and from SoftTimeout on"))
	}
	if o.NegativeTTL < 0 || o.NegativeTTL > 0 && (o.NegativeTTL < time.Millisecond || o.NegativeTTL > o.TTL) {
		errs = append(errs, bad("NegativeTTL", o.NegativeTTL, "zero, and 1ms to the TTL"))
	}
	if !(o.TTLJitter >= 0 && o.TTLJitter <= 1) { // NaN is refused, too
		errs = append(errs, bad("TTLJitter", o.TTLJitter, "0 to 1"))
	}
	return errs
}

func checkKinds(kinds []AnyKind) error {
	var errs []error
	names, types := map[string]bool{}, map[string]bool{}
	for i, k := range kinds {
		if k == nil {
			errs = append(errs, invalid("Options.Kinds[%d] is nil", i))
			continue
		}
		o := k.Info()
		errs = append(errs, k.kind().err)
		if names[o.Name] {
			errs = append(errs, invalid("Options.Kinds: two kinds are named %q", o.Name))
		}
		if types[o.KeyType] {
			errs = append(errs, invalid("Options.Kinds: two kinds have the key type %q", o.KeyType))
		}
		names[o.Name], types[o.KeyType] = true, true
	}
	return errors.Join(errs...)
}

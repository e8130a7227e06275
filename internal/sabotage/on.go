//go:build sabotage

// Package sabotage breaks single mechanisms on purpose, so that a checker can
// prove that it notices. It is built in with the tag "sabotage" only.
package sabotage

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// names are those in the environment, read once.
var names = sync.OnceValue(func() []string { return strings.Split(os.Getenv("JACKCACHE_SABOTAGE"), ",") })

// On reports whether the mechanism of that name is broken on purpose: the comma
// separated list in JACKCACHE_SABOTAGE has it.
func On(name string) bool { return slices.Contains(names(), name) }

// Value returns what the mechanism of that name is set to on purpose: the part
// after = of its entry in JACKCACHE_SABOTAGE. Empty: it is as it should be.
func Value(name string) string {
	for _, entry := range names() {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

//go:build !sabotage

// Package sabotage breaks single mechanisms on purpose, so that a checker can
// prove that it notices. It is built in with the tag "sabotage" only.
package sabotage

// On reports whether the mechanism of that name is broken on purpose.
func On(string) bool { return false }

// Value returns what the mechanism of that name is set to on purpose; empty: it is
// as it should be.
func Value(string) string { return "" }

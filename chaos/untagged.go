//go:build !sabotage

package main

// sabotageBuilt tells whether the library in this process has mechanisms that can
// be switched off.
const sabotageBuilt = false

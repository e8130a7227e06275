//go:build sabotage

package main

const sabotageBuilt = true

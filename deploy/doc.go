// Package deploy has no code: its tests check the files beside it, and run what
// can be run without a container engine or a cluster. It is a module of its own
// so that what the tests need stays out of the product.
package deploy

package redistest

import "testing"

// A port is given once, whether anybody listens or not.
func TestPortsAreReserved(t *testing.T) {
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if reserve(port) {
		t.Error("a port that was given is given once more")
	}
}

package deploy

import (
	"regexp"
	"testing"
)

// serverRoutes are the paths of the server's table of routes that have no
// variable parts.
func serverRoutes(t *testing.T) map[string]bool {
	t.Helper()
	paths := make(map[string]bool)
	for _, m := range regexp.MustCompile(`method: "GET", pattern: "([^"{]+)"`).FindAllSubmatch(mustRead(t, "../httpapi/routes.go"), -1) {
		paths[string(m[1])] = true
	}
	return paths
}

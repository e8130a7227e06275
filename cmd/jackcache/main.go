// Command jackcache serves a cache over HTTP and looks into it.
package main

import (
	"os"

	"github.com/jackcache/jackcache/internal/cli"
)

func main() { os.Exit(cli.Main()) }

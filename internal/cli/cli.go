// Package cli is the command line: one file per command, and the table of
// settings, the only place that reads the environment.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/jackcache/jackcache"
	"github.com/jackcache/jackcache/assistant"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is wrong use: what was asked for makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usage(text string) error { return &usageError{text} }

// silentError ends a command that has said everything.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// app is one run of the program.
type app struct {
	in, out, err *os.File
	root         *cobra.Command

	json   bool   // --json
	server string // --server; empty: not given
	began  bool   // a command runs; what failed before was wrong use
}

// Main runs the program with the arguments of this process and returns its exit
// code.
func Main() int {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	a.newRoot()
	err := a.root.ExecuteContext(context.Background())
	if err == nil {
		return exitDone
	}
	var silent *silentError
	if errors.As(err, &silent) {
		return silent.code
	}
	a.say("jackcache: %s", plain(err))
	var wrong *usageError
	switch {
	case !a.began:
		a.say("See 'jackcache --help'.")
		return exitUsage
	case errors.As(err, &wrong), errors.Is(err, jackcache.ErrInvalid):
		return exitUsage
	}
	return exitFailed
}

// plain is the text of an error with the name of its class once, without the
// name of the program.
func plain(err error) string {
	s := err.Error()
	for _, class := range []error{
		jackcache.ErrNotFound, jackcache.ErrInvalid, jackcache.ErrTooLarge, jackcache.ErrConflict,
		jackcache.ErrPrecondition, jackcache.ErrWrongStore, jackcache.ErrUnavailable, jackcache.ErrUnknown, jackcache.ErrUnseen, jackcache.ErrFull,
		jackcache.ErrRejected, jackcache.ErrCorrupt, jackcache.ErrDisabled, jackcache.ErrBusy, jackcache.ErrClosed,
	} {
		name := strings.TrimPrefix(class.Error(), "jackcache: ")
		s = strings.ReplaceAll(s, class.Error(), name)
		for twice := name + ": " + name; strings.Contains(s, twice); {
			s = strings.ReplaceAll(s, twice, name)
		}
	}
	return s
}

func (a *app) newRoot() {
	a.root = &cobra.Command{
		Use:   "jackcache",
		Short: "Working state of assistants: shared, apart per organisation, never lost",
		Long: `jackcache keeps the working state of an AI assistant that answers for many
organisations: conversations, summaries, lead mappings and more. It serves them
over HTTP, from an embedded file or from Redis.

Commands other than serve talk to a running server (--server, else the one at
JACKCACHE_ADDR, with JACKCACHE_API_TOKEN). Where nothing listens at JACKCACHE_ADDR
they open the store themselves.

Exit codes: 0 done, 1 failed, 2 wrong use.`,
		Example: `  jackcache serve
  jackcache import conversations.ndjson.gz
  jackcache stats`,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.began = true
			a.setColour()
			showSettings(cmd, a.root.PersistentFlags())
		},
	}
	a.root.SetIn(a.in)
	a.root.SetOut(a.out)
	a.root.SetErr(a.err)
	a.root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	flags := a.root.PersistentFlags()
	flags.BoolVar(&a.json, "json", false, "print one stable machine form")
	flags.StringVar(&a.server, "server", "", "URL of the server to talk to (default http://JACKCACHE_ADDR)")
	addSettings(flags)
	setHelp(a.root)
	a.root.AddCommand(
		a.serveCommand(), a.checkCommand(), a.healthCommand(), a.statsCommand(), a.getCommand(), a.keysCommand(), a.monitorCommand(),
		a.importCommand(), a.exportCommand(), a.invalidateCommand(), a.clearCommand(), a.forgetCommand(), a.aclCommand(), a.manCommand(), a.versionCommand(),
	)
	a.addCompletion()
}

// settings loads the settings with the flags of this run. It reports every
// problem at once, but those of the store only to who opens it.
func (a *app) settings(opens purpose) (*settings, error) {
	layers, err := readEnvironment()
	if err != nil {
		return nil, err
	}
	s, wrong, err := load(append(layers, flagValues(a.root.PersistentFlags()))...)
	if err != nil {
		return nil, err
	}
	if opens == toServe {
		wrong.lines = append(wrong.lines, s.ofStore.lines...)
	}
	return s, wrong.err()
}

// purpose is what settings are for.
type purpose uint8

const (
	toAsk   purpose = iota // a server that runs
	toServe                // the store
)

// open opens the cache that the settings describe.
func open(ctx context.Context, s *settings, logger logger) (*assistant.Assistant, error) {
	o, ttls := s.options(logger)
	return assistant.Open(ctx, o, ttls)
}

// say prints a line for people, beside the data.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.err, format+"\n", args...)
}

func terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// untilSignal returns a context that ends when the user interrupts.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}

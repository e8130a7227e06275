package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/opencontainers/go-digest"
)

func stages() ([]instructions.Stage, error) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		return nil, err
	}
	file, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	all, _, err := instructions.Parse(file.AST, nil)
	return all, err
}

func mustStages(t *testing.T) []instructions.Stage {
	t.Helper()
	all, err := stages()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// buildCommands are the RUN instructions, in order.
func buildCommands() ([]string, error) {
	all, err := stages()
	if err != nil {
		return nil, err
	}
	var commands []string
	for _, s := range all {
		for _, c := range s.Commands {
			if run, ok := c.(*instructions.RunCommand); ok {
				commands = append(commands, strings.Join(run.CmdLine, " "))
			}
		}
	}
	return commands, nil
}

// bareImages answers for every image as if it were empty: nothing is fetched.
type bareImages struct{}

func (bareImages) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	p := platforms.DefaultSpec()
	config, err := json.Marshal(map[string]any{"os": p.OS, "architecture": p.Architecture, "config": map[string]any{}})
	return ref, digest.FromBytes(config), config, err
}

// The rules of docker build --check hold, and what the file builds is as the
// documentation says.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	platform := platforms.DefaultSpec()
	source := llb.NewSourceMap(nil, "Dockerfile", "dockerfile", text)
	source.Definition = &llb.Definition{}
	opt := dockerfile2llb.ConvertOpt{MetaResolver: bareImages{}, SourceMap: source, TargetPlatform: &platform}
	found, err := dockerfile2llb.DockerfileLint(t.Context(), text, opt)
	if err != nil {
		t.Fatal(err)
	}
	if found.Error != nil {
		t.Error(found.Error.Message)
	}
	for _, w := range found.Warnings {
		t.Errorf("%s: %s", w.RuleName, w.Detail)
	}
	opt.Warn = nil
	result, err := dockerfile2llb.Dockerfile2LLB(t.Context(), text, opt)
	if err != nil {
		t.Fatal(err)
	}
	config := result.Image.Config
	if !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(config.User) {
		t.Errorf("USER %q; want numbers, so that Kubernetes can see that it is not root", config.User)
	}
	if _, ok := config.Volumes["/data"]; !ok || !slices.Contains(config.Env, "JACKCACHE_DATA_DIR=/data") {
		t.Errorf("volumes %v, environment %v; want the data directory in both", config.Volumes, config.Env)
	}
	if len(config.Entrypoint) != 1 || !slices.Equal(config.Cmd, []string{"serve"}) {
		t.Errorf("ENTRYPOINT %q CMD %q; want the program, and serve", config.Entrypoint, config.Cmd)
	}
	if h := config.Healthcheck; h == nil || !slices.Equal(h.Test, []string{"CMD", config.Entrypoint[0], "health", "--probe", "live"}) {
		t.Errorf("HEALTHCHECK %+v; want the program itself", h)
	}
	checkEnvironment(t, "Dockerfile", asMap(config.Env))
}

func asMap(env []string) map[string]string {
	m := make(map[string]string)
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		m[name] = value
	}
	delete(m, "PATH")
	return m
}

// pinned is a tag with a major and a minor version at least.
var pinned = regexp.MustCompile(`:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?$`)

func TestDockerfileImagesArePinned(t *testing.T) {
	names := map[string]bool{"scratch": true}
	for _, s := range mustStages(t) {
		if !names[s.BaseName] && !pinned.MatchString(s.BaseName) {
			t.Errorf("FROM %s; want a tag with its version", s.BaseName)
		}
		names[s.Name] = true
	}
}

// Nothing comes from the network, and nothing with a secret's name is kept in
// a layer.
func TestDockerfileTakesOnlyTheContext(t *testing.T) {
	secret := regexp.MustCompile(`(?i)token|password|secret`)
	for _, s := range mustStages(t) {
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.AddCommand:
				t.Errorf("ADD %v; want COPY", c.SourcePaths)
			case *instructions.EnvCommand:
				for _, e := range c.Env {
					if secret.MatchString(e.Key) {
						t.Errorf("ENV %s would be in a layer", e.Key)
					}
				}
			case *instructions.ArgCommand:
				for _, a := range c.Args {
					if secret.MatchString(a.Key) {
						t.Errorf("ARG %s would be in the image's history", a.Key)
					}
				}
			case *instructions.CopyCommand:
				checkSources(t, c)
			}
		}
	}
}

// checkSources finds what is copied from the context and is not in it.
func checkSources(t *testing.T, c *instructions.CopyCommand) {
	t.Helper()
	names, err := contextFiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range c.SourcePaths {
		switch {
		case c.From != "" && strings.HasPrefix(source, "/out/"):
			if _, err := os.Stat(strings.TrimSuffix(binary(t), "/out/jackcache") + source); err != nil {
				t.Errorf("COPY --from=%s %s: %v", c.From, source, err)
			}
		case c.From == "" && source != "." && !slices.Contains(names, source):
			t.Errorf("COPY %s: it is not in the context", source)
		}
	}
}

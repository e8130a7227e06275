# make test installs what the tests need (redis-server, promtool, systemd-analyze) and runs everything that
# has to hold on main. The other targets need the same.

GO ?= go
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30s
CHAOSTIME ?= 5m
CHAOSRATE ?= 1150
CHAOSTABLE ?= /dev/null

.PHONY: test tests outer others lint lint-bench check race deploy chaos chaos-short fuzz bench tools

test: tools lint tests others chaos-short

# A tool that is missing is installed where that is possible, and named where
# it is not.
tools:
	@missing=; \
	command -v redis-server >/dev/null || missing="$$missing redis-server"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v promtool >/dev/null && command -v prometheus >/dev/null || missing="$$missing prometheus"; \
	command -v systemd-analyze >/dev/null || missing="$$missing systemd"; \
	test -z "$$missing" && exit 0; \
	echo "installing$$missing"; \
	sudo=; test "$$(id -u)" = 0 || sudo=sudo; \
	$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends $$missing \
	  || { echo "the tests need$$missing: apt-get install$$missing" >&2; exit 1; }

lint:
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	cd deploy && $(GO) vet ./...
	cd chaos && $(GO) vet ./... && $(GO) vet -tags sabotage ./...
	$(STATICCHECK) ./...
	cd deploy && $(STATICCHECK) ./...
	cd chaos && $(STATICCHECK) ./...

# bench has its peers with it, which take minutes to build.
lint-bench:
	cd bench && $(GO) vet ./... && $(STATICCHECK) ./...

# The race detector needs cgo; the product does not, and is built without. Most
# tests wait for servers, so four packages run at a time. The outermost rooms, whose
# tests are mostly whole processes and requests, run without the detector here;
# race runs all with it.
OUTER = ./httpapi ./internal/check ./internal/cli
# These begin first: the others are done before they end.
LONGEST = ./internal/redisstore .
tests:
	CGO_ENABLED=0 $(GO) build ./...
	$(GO) test -race -p 4 -timeout 12m $(LONGEST) $$($(GO) list ./... | grep -v -E '/(httpapi|internal/check|internal/cli)$$')

outer:
	$(GO) test -timeout 12m $(OUTER)

# Both mostly wait.
others:
	$(MAKE) -j2 outer deploy

race:
	$(GO) test -race -p 4 -timeout 30m ./...

# What is in deploy/, with the binary as the image has it and a real Prometheus.
deploy:
	cd deploy && $(GO) test -timeout 15m ./...

# Every fault once against real servers, from fixed seeds, and the proof that the
# checker sees what is switched off. chaos does it for minutes, with another seed
# each time; it prints the seed and the command that repeats a run.
chaos-short:
	cd chaos && $(GO) test -count=1 -timeout 15m ./...

chaos: tools
	cd chaos && $(GO) run . --prove
	cd chaos && $(GO) run . --crash 200
	cd chaos && $(GO) run . --duration $(CHAOSTIME) --rate $(CHAOSRATE) --table $(CHAOSTABLE)
	cd chaos && $(GO) run . --duration 1m --skew 900ms,-700ms

bench: tools
	cd bench && $(GO) run .

fuzz:
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

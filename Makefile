# The one task runner: `make help` lists what it can do. It asks for Go and
# make; what else a target needs it finds or installs (.ci/ensure-*). The
# syntax is that of GNU make 3.81, which is what macOS has.

GO       ?= go
ARGS     ?=
PKGS     ?= ./...
FUZZTIME ?= 10s
# Runs of each benchmark, and rounds of the comparison over HTTP.
COUNT    ?= 10
ROUNDS   ?= 5

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The version is stamped by -X, so that a build works the same outside git.
BUILD     = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false

# The tools are pinned in module files of their own, outside the product's
# dependencies. The opa command has one to itself: it needs another version of
# a module than golangci-lint does. The lint tools are built once for each
# state of those files and of the Go release.
TOOLS     = .cache/tools/$(shell { $(GO) version; cat .ci/*.mod .ci/*.sum; } | cksum | tr ' ' '-')

.DEFAULT_GOAL := help
.PHONY: help run build test lint fmt bench benchcmp benchsave fuzz cover clean tools

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and serve; ARGS="--addr :9000" adds flags
	@if [ -z "$$DATABASE_URL" ]; then .ci/ensure-postgres; fi
	@exec bin/twyn serve $(ARGS)

build: ## build bin/twyn
	@$(BUILD) -ldflags '-X main.version=$(VERSION)' -o bin/twyn ./cmd/twyn

test: ## run every test with the race detector, on a PostgreSQL of its own; PKGS=./engine/... for some
	@.ci/ensure-packages cc curl python3 node
	@.ci/ensure-postgres
	@CGO_ENABLED=1 $(GO) test -race -timeout 9m $(ARGS) $(PKGS)

lint: tools ## check the code, the policies, the modules and the scripts
	@$(GO) vet ./... ./.ci/bench/bare
	@$(TOOLS)/golangci-lint run ./... ./.ci/bench/bare
	@$(TOOLS)/opa fmt --fail --diff policies >&2
	@$(TOOLS)/opa check --strict --schema policies/schema/input.json policies/default
	@$(GO) mod tidy -diff
	@$(GO) mod verify >&2
	@for f in .ci/* .ci/bench/*; do \
	  [ -f "$$f" ] || continue; \
	  case "$$(head -n 1 "$$f")" in \
	    '#!/bin/sh'*) sh -n "$$f" ;; \
	    '#!'*bash*) bash -n "$$f" ;; \
	  esac || exit 1; \
	done

fmt: tools ## format the code and the policies
	@$(TOOLS)/golangci-lint fmt ./...
	@$(TOOLS)/opa fmt --write policies

bench: build ## benchmark a decision, then the server beside a bare Fiber handler
	@.ci/ensure-packages wrk
	@if [ -z "$$DATABASE_URL" ]; then .ci/ensure-postgres; fi
	@.ci/bench/decide $(COUNT)
	@.ci/bench/serve $(ROUNDS)

benchcmp: ## compare the last `make bench` with testdata/bench
	@$(GO) tool -modfile=.ci/tools.mod benchstat testdata/bench/decide.txt .cache/bench/decide.txt

benchsave: ## keep the last `make bench` as the one to compare with
	@mkdir -p testdata/bench && grep -v '^cpu:' .cache/bench/decide.txt >testdata/bench/decide.txt

fuzz: ## run each fuzz target for FUZZTIME
	@.ci/ensure-postgres
	@FUZZTIME=$(FUZZTIME) .ci/fuzz

cover: ## run the tests with coverage; the profile is .cache/cover.out
	@.ci/ensure-packages curl python3 node
	@.ci/ensure-postgres
	@mkdir -p .cache
	@$(GO) test -timeout 9m -coverpkg=./... -coverprofile=.cache/cover.out $(PKGS)
	@$(GO) tool cover -func=.cache/cover.out | tail -n 1

clean: ## remove what was built; the data in .twyn stays
	@rm -rf bin .cache

tools:
	@[ -x $(TOOLS)/golangci-lint ] || { \
	  echo 'building the lint tools once; this takes some minutes' >&2; \
	  rm -rf .cache/tools && \
	  CGO_ENABLED=0 $(GO) build -modfile=.ci/tools.mod -o $(TOOLS).new/ tool && \
	  CGO_ENABLED=0 $(GO) build -modfile=.ci/opa.mod -o $(TOOLS).new/ tool && \
	  mv $(TOOLS).new $(TOOLS); \
	}

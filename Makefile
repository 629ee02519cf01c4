# The project's commands. `make` lists them.
#
# Each sees to what it needs first (scripts/setup.sh), which takes a moment when nothing is missing.
# ARGS is handed on: `make test ARGS='--test it rollback'`, `make demo ARGS=--once`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ARGS ?=

# What setup.sh found on this machine: where cargo and PostgreSQL are.
env := source .tools/env

.PHONY: help demo test browser real-account bench openapi fmt lint ci

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Two cargo commands, so that a first build shows its progress and the program has the terminal to itself.
# `exec`: Ctrl-C then reaches the program alone, and make has no failed shell to report.
demo: ## Everything embedded: promotions, rollback, canaries, then it serves (ARGS=--once: it ends)
	@scripts/setup.sh demo && $(env) && cargo build && exec cargo run --quiet -- dev --demo $(ARGS)

# ARGS are cargo's: with them, its tests alone. Without, the edge's run too, also when one of cargo's has failed.
test: ## All tests, on a private PostgreSQL and AWS emulators
	@scripts/setup.sh test && $(env) && export GREENLIGHT_TEST_PYTHON="$(CURDIR)/.venv/bin/python" \
	  && $(if $(ARGS),exec cargo test $(ARGS),{ status=0; cargo test || status=1; npm --prefix edge test || status=1; exit $$status; })

# Needs the dev binary, which it builds. GREENLIGHT_BROWSER_FLIPS sets how often it flips (50).
browser: ## The flip in Chromium: blue, green, no mixture during fifty flips under load, and back
	@scripts/setup.sh browser && $(env) && cargo build --quiet && exec npm --silent --prefix tests/browser test

# Sends requests to a distribution that you have set up (docs/aws-setup.md); changes nothing there.
real-account: ## Check the functions on a real distribution: make real-account URL=https://www.example.com/
	@[ -n "$(URL)" ] || { echo "say which distribution: make real-account URL=https://www.example.com/" >&2; exit 2; }
	@exec node edge/real-account/check.mjs $(URL) $(ARGS)

bench: ## The figures of the promotion benchmark, optimised build (the first takes ten minutes)
	@scripts/setup.sh bench && $(env) && export GREENLIGHT_TEST_PYTHON="$(CURDIR)/.venv/bin/python" \
	  PATH="$(CURDIR)/.venv/bin:$$PATH" && exec cargo bench --bench promotion $(if $(ARGS),-- $(ARGS))

openapi: ## Write openapi/openapi.json anew from the router
	@scripts/setup.sh demo && $(env) && mkdir -p openapi && cargo run --quiet -- openapi >openapi/openapi.json.new \
	  && mv openapi/openapi.json.new openapi/openapi.json

fmt: ## Format the code
	@cargo fmt

lint: ## Clippy with warnings denied, with every feature and as the production image is built
	@cargo clippy --all-targets --all-features -- -D warnings
	@cargo clippy --no-default-features -- -D warnings

ci: ## The gate, as it runs before a change lands
	@exec .ci/run

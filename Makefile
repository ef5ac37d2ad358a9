# NexMDM: `make run` starts a node, `make test` runs every test.

CARGO ?= cargo
# SQL is checked against the committed description of the schema, not a live database.
export SQLX_OFFLINE := true

target_dir = $(shell $(CARGO) metadata --format-version 1 --no-deps --offline 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.PHONY: run demo test lint bench deny sqlx-prepare screenshots

## Start a node in release mode; installs what is missing.
run:
	@.ci/install-deps run
	$(CARGO) build --release -p node
	@exec $(target_dir)/release/nexmdm serve

## The same with 200 simulated devices, in a data folder of its own; and with three agents where Java and their jar are there.
demo:
	@.ci/install-deps run
	$(CARGO) build --release -p node -p chaos
	@exec .ci/demo $(target_dir)/release 200

## Every test: unit, end to end against real processes, browser.
test:
	@.ci/install-deps test
	@# The build before, for the rolling upgrade: it lacks the newest field of the protocol between nodes.
	$(CARGO) build -p node --features previous-protocol
	cp $(target_dir)/debug/nexmdm $(target_dir)/debug/nexmdm-previous
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace

## Take the pictures of docs/ anew: overview, devices, a device.
screenshots:
	@.ci/install-deps test
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --test browser -- --ignored screenshots_of_the_documentation

## Format, clippy without a warning, and, where cargo-deny is installed, dependencies.
lint:
	@.ci/install-deps run
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; fi

## Dependencies: licences, advisories, sources. Needs cargo-deny and, for advisories, the network.
deny:
	$(CARGO) deny check

## Print the figures of docs/performance.md, measured on this machine.
bench:
	@.ci/install-deps run
	$(CARGO) build --release -p node -p chaos
	$(target_dir)/release/chaos bench

## After a change of SQL or schema: describe every statement anew. Needs DATABASE_URL of a scratch database.
sqlx-prepare:
	@test -n "$(DATABASE_URL)" || { echo "set DATABASE_URL to a scratch database"; exit 1; }
	SQLX_OFFLINE=false $(CARGO) run -q -p node -- migrate
	rm -rf .sqlx && mkdir .sqlx && touch actors/store/src/lib.rs
	SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$(CURDIR)/.sqlx $(CARGO) check -p store

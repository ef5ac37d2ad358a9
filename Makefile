# NexMDM: `make run` starts a node, `make test` runs every test, `make agent` builds the Android agent.

CARGO ?= cargo
# SQL is checked against the committed description of the schema, not a live database.
export SQLX_OFFLINE := true

target_dir = $(shell $(CARGO) metadata --format-version 1 --no-deps --offline 2>/dev/null | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')

.PHONY: run demo test fuzz lint bench deny image test-image deb test-deb test-deploy sqlx-prepare screenshots agent agent-release agent-test agent-reproducible agent-lint

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
	@# The binaries come with the tests, of the same features, so that each crate is compiled once.
	$(CARGO) test --workspace --no-run
	@# Before the rest: tests of the server start agents too.
	$(MAKE) agent-test NEXMDM_BINARY=$(target_dir)/debug/nexmdm
	CARGO="$(CARGO)" .ci/test

## The container images, by docker, podman or buildah (IMAGE_TOOL): nexmdm:VERSION, and nexmdm:VERSION-standalone with PostgreSQL. PLATFORM=linux/arm64 for another architecture.
image:
	.ci/image/build

## The same without a registry, from a base made by debootstrap, and the way to the first device in both. Needs root.
test-image:
	@.ci/install-deps run image
	$(CARGO) build --release -p node
	.ci/image/test $(target_dir)/release/nexmdm

## The Debian package, in $(target_dir)/debian.
deb:
	@.ci/install-deps run deb
	$(CARGO) build --profile dist -p node --features jemalloc
	CARGO="$(CARGO)" .ci/deb build

## What is in the package, and its installation, upgrade, removal and purge in a chroot. Needs root.
test-deb: deb
	@.ci/install-deps image
	.ci/deb test

## compose.yaml, the Helm chart, the Kustomize base and the systemd unit, by their own tools, by schemas and by rules. Needs helm or Go.
test-deploy:
	@.ci/install-deps deploy
	.ci/deploy

## Every fuzz target of fuzz/ for a minute each (FUZZ_SECONDS), guided by coverage.
fuzz:
	@.ci/install-deps run
	.ci/fuzz

## Build the Android agent: a debug APK and, for the JVM, its core as a process. Installs what is missing.
agent:
	android-agent/build.sh debug --no-tests

## The release: tested, shrunk, signed (android-agent/scripts/sign.sh names the variables), verified.
agent-release:
	android-agent/build.sh release

## Tests of the agent: JVM, Android framework, push by FCM, mutations of the signature check, the packaged APK, the same bytes from two builds.
agent-test: export NEXMDM_AGENT_REQUIRE_SERVER_READER = 1
agent-test:
	android-agent/build.sh release
	android-agent/scripts/fcm.sh
	android-agent/scripts/mutations.sh
	android-agent/scripts/reproducible.sh

## Whether two builds of the agent give the same bytes before signing.
agent-reproducible:
	@.ci/install-deps agent
	android-agent/scripts/reproducible.sh

## Style and smells of Kotlin, shell scripts, workflows.
agent-lint:
	@.ci/install-deps agent lint
	android-agent/scripts/lint.sh

## Take the pictures of docs/ anew: overview, devices, a device.
screenshots:
	@.ci/install-deps test
	$(CARGO) test --workspace --test suite -- --ignored screenshots_of_the_documentation

## Circles between modules, faces below the services, rules for Prometheus, format, clippy without a warning, the agent's code, and, where cargo-deny is installed, dependencies.
lint:
	@.ci/install-deps run lint
	.ci/rooms
	.ci/layers
	.ci/prometheus
	.ci/systemd
	$(MAKE) agent-lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; fi

## Dependencies: licences, advisories, sources. Needs cargo-deny and, for advisories, the network.
deny:
	$(CARGO) deny check

## Print the figures of docs/performance.md, measured on this machine.
bench:
	@.ci/install-deps run
	$(CARGO) build --profile dist -p node -p chaos --features node/jemalloc,chaos/jemalloc
	$(target_dir)/dist/chaos bench

## After a change of SQL or schema: describe every statement anew. Needs DATABASE_URL of a scratch database.
sqlx-prepare:
	@test -n "$(DATABASE_URL)" || { echo "set DATABASE_URL to a scratch database"; exit 1; }
	SQLX_OFFLINE=false $(CARGO) run -q -p node -- migrate
	rm -rf .sqlx && mkdir .sqlx && touch actors/store/src/lib.rs
	SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$(CURDIR)/.sqlx $(CARGO) check -p store

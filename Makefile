# Everything one does with this repository. `make help` lists it.

CARGO ?= cargo
BASE_PORT ?= 9090
DIR ?= ./hayrick-cluster
ROWS ?=
FUZZ_SECONDS ?= 60
# One at a time: each test runs a cluster of seven processes, and some measure how long a failover takes.
TEST_THREADS ?= 1

.DEFAULT_GOAL := help

.PHONY: help cluster test verify format lint graph deny unit integration fuzz bench soak soak-crash soak-heal soak-large \
	soak-list soak-chaos chaos chaos-self-test static image clean need-cargo need-deny need-builder

help: ## list the targets
	@echo 'Hayrick: make TARGET'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make cluster BASE_PORT=9090 DIR=./hayrick-cluster    three masters and four volumes'
	@echo '  make bench ROWS=put-1k-c32,get-1k-c32                only these rows'

cluster: need-cargo ## run a cluster of real processes on this machine until Ctrl-C (BASE_PORT, DIR)
	@$(CARGO) build --release -p hayrick-cli -p hayrick-launcher
	@exec $(CARGO) run --release --quiet -p hayrick-launcher --bin cluster -- '$(BASE_PORT)' '$(DIR)'

test: verify ## all checks and all tests, as CI runs them

verify: need-cargo need-deny format lint graph deny unit integration ## the same as test

format: ## check the formatting
	$(CARGO) fmt --all --check

lint: ## clippy, warnings denied
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p hayrick-cli --features chaos --all-targets -- -D warnings

graph: ## check which crate looks at which
	$(CARGO) test --quiet -p hayrick-integration-tests --test crate_graph

deny: need-deny ## check bans, licenses and sources of the dependencies
	$(CARGO) deny check bans licenses sources

unit: ## the tests of every crate but the integration tests
	$(CARGO) test --workspace --exclude hayrick-integration-tests

integration: ## real processes, real files, real HTTP
	$(CARGO) build -p hayrick-cli -p hayrick-launcher
	$(CARGO) build -p hayrick-cli --features chaos --bin hayrick-chaos
	$(CARGO) test -p hayrick-integration-tests --no-fail-fast -- --test-threads=$(TEST_THREADS)

# Where a nightly toolchain, cargo-fuzz and a C++ compiler are installed, libFuzzer does it; else a mutator of our own.
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
fuzz: need-cargo ## give ruined files and messages to what decodes them (FUZZ_SECONDS=60)
	@if rustup toolchain list 2>/dev/null | grep -q ^nightly && command -v c++ >/dev/null \
		&& $(CARGO) +nightly fuzz --version >/dev/null 2>&1; then \
		fuzz/run.sh '$(FUZZ_SECONDS)' $(FUZZ_TARGETS); \
	else \
		echo 'fuzz: with our own mutator (volume/tests/fuzz). For fuzzing guided by coverage install a C++ compiler and:'; \
		echo '    rustup toolchain install nightly --profile minimal && cargo install --locked cargo-fuzz'; \
		FUZZ_SECONDS='$(FUZZ_SECONDS)' $(CARGO) test -p hayrick-volume --test fuzz -- --nocapture; \
	fi

bench: need-cargo ## measure engine and cluster against this machine's limits, into target/bench.json (ROWS=a,b for some)
	@$(CARGO) build --release -p hayrick-cli -p hayrick-integration-tests
	@$(CARGO) build --release -p hayrick-volume --example engine
	@$(CARGO) build --release -p hayrick-master --example raft
	@exec $(CARGO) run --release --quiet -p hayrick-integration-tests --bin bench -- '$(ROWS)'

# The same tests as in `make unit`, with more of the histories that are drawn from a seed.
HISTORIES ?= 10000
soak: soak-crash soak-heal soak-large soak-list soak-chaos ## the five below, one after the other: some hours

soak-crash: need-cargo ## crash tests with many more histories, for an hour or so (HISTORIES)
	HAYRICK_HISTORIES=$(HISTORIES) $(CARGO) test --release -p hayrick-disk -p hayrick-raft-store -p hayrick-volume -- \
		acked_records acknowledged_ at_every_crash

# The same tests as in `make integration`, more often and for longer.
SEEDS ?= 20
HANG_SECONDS ?= 60
soak-heal: need-cargo ## repairs during which servers die, and a volume that hangs for longer, for a quarter of an hour (SEEDS, HANG_SECONDS)
	$(CARGO) build --release -p hayrick-cli
	HAYRICK_SEEDS=$(SEEDS) $(SOAKED) --test healing -- --nocapture a_repair_whose_servers_die
	HAYRICK_HANG_SECONDS=$(HANG_SECONDS) $(SOAKED) --test hung_volume -- --nocapture
soak-large: need-cargo ## 64 objects of 64 MiB at once, each way
	$(CARGO) build --release -p hayrick-cli
	HAYRICK_LARGE_MIB=64 $(SOAKED) --test large -- --nocapture
soak-list: need-cargo ## a million keys, which one client lists while others store and read
	$(CARGO) build --release -p hayrick-cli
	HAYRICK_OBJECTS=1000000 $(SOAKED) --test long_list -- --nocapture
SOAKED = HAYRICK_BIN=$(CURDIR)/target/release/hayrick $(CARGO) test -p hayrick-integration-tests

# Real processes, broken on a schedule that is drawn from a seed; the report is chaos-report/index.html.
CHAOS_BUILD = $(CARGO) build --release -p hayrick-cli --features chaos --bin hayrick-chaos
PROVE = $(CURDIR)/target/release/hayrick-chaos prove $(if $(SEED),--seed $(SEED))
SEED ?=
MIX ?=
# Each of the 24 mixes takes half a minute of them; with less the mixes stay as long.
MINUTES ?= 12
chaos: need-cargo ## break a cluster by every mix of faults in short, in 12 minutes, and judge what was seen (SEED, MIX, MINUTES)
	@$(CHAOS_BUILD)
	@exec $(PROVE) --mix $(or $(MIX),all) --minutes $(MINUTES)

chaos-self-test: need-cargo ## show that each planted bug is caught, and nothing without one; writes the table of docs/chaos.md (SEED; MIX for some bugs, without the table)
	@$(CHAOS_BUILD)
	@exec $(PROVE) $(if $(MIX),--mix $(MIX)) --self-test docs/chaos.md

MIX_SECONDS ?= 180
soak-chaos: need-cargo ## every mix for MIX_SECONDS (180); goes on where it was interrupted; writes its tables into docs/chaos.md (SEED)
	@$(CHAOS_BUILD)
	@exec $(PROVE) --mix $(or $(MIX),all) --seconds $(MIX_SECONDS) --resume $(if $(SEED),,--seed 1) \
		$(if $(MIX),,--figures docs/chaos.md)

# One file that needs nothing of the machine it runs on, glibc included; proc macros are built for this machine as always.
STATIC_TARGET ?= $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
static: need-cargo ## build target/static/hayrick, which runs on any Linux of this architecture
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --release --locked -p hayrick-cli --target '$(STATIC_TARGET)'
	@mkdir -p target/static/data
	@strip --strip-debug -o target/static/hayrick.new 'target/$(STATIC_TARGET)/release/hayrick'
	@mv target/static/hayrick.new target/static/hayrick
	@ldd target/static/hayrick 2>&1 | grep -q -e 'statically linked' -e 'not a dynamic executable' || \
		{ echo 'static: target/static/hayrick wants libraries of this machine:' >&2; ldd target/static/hayrick >&2; exit 1; }
	@echo 'static: target/static/hayrick'

# The first that answers: a docker client without its daemon builds nothing.
BUILDER ?= $(firstword $(foreach it,podman buildah docker,$(shell $(it) info >/dev/null 2>&1 && echo $(it))))
IMAGE ?= hayrick
image: need-builder static ## build a container image from scratch with that program (IMAGE=hayrick, BUILDER=podman, buildah or docker)
	$(BUILDER) build -f Containerfile -t '$(IMAGE)' target/static

clean: ## remove what was built, with it the figures in target/bench.json; never data
	$(CARGO) clean

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo 'Rust is missing; install it: https://rustup.rs' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'a C compiler (cc) is missing; on Debian: apt-get install gcc libc6-dev' >&2; exit 1; }
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || \
		echo 'rustfmt or clippy is missing (make test needs both): rustup component add rustfmt clippy' >&2

need-deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || \
		{ echo 'cargo-deny is missing; install it: cargo install --locked cargo-deny' >&2; exit 1; }

need-builder:
	@[ -n '$(BUILDER)' ] || \
		{ echo 'neither podman nor buildah nor docker can build an image here; on Debian: apt-get install buildah' >&2; exit 1; }

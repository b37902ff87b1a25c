# `make run` and `make test` are all that is needed on a machine with Rust, gcc and make.
# What is built goes to the user's cache, one profile for everything, so that llama.cpp is
# compiled once.

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(cache)/nmos/target)
nmos := $(CARGO_TARGET_DIR)/release/nmos
# Where bench-forged keeps what it makes.
forged := $(cache)/nmos/forged

# Unattended, the lock file is the law.
locked := $(if $(CI),--locked)

.DEFAULT_GOAL := help
.PHONY: help run test lint build models deps screenshots bench-river bench-streaming bench-gpu bench-forged bench-rival bench-trees bench-experts bench-busy fuzz-headers chat-references architectures

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

run: models ## build, fetch the default models, open the workbench
	@"$(nmos)"

test: models ## build, fetch the models that tests need, run all tests
	@"$(nmos)" models pull smollm2-135m gemma-3-270m
	cargo test --release $(locked) -- --test-threads=1

lint: ## layers of modules, formatting, clippy, documentation, licences of dependencies
	@scripts/deps lint
	@scripts/layers
	cargo fmt --check
	@scripts/first-build "$(CARGO_TARGET_DIR)"
	cargo clippy --release --all-targets $(locked) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --document-private-items $(locked)
	cargo fetch $(locked)
	cargo test --release $(locked) --test cli licences

build: deps ## the executable, in the user's cache
	@scripts/first-build "$(CARGO_TARGET_DIR)"
	cargo build --release $(locked)

screenshots: models ## draw the pictures under screenshots/ by the program itself
	@mkdir -p screenshots
	@NMOS_MAX_TOKENS=96 "$(nmos)" --ram 960MiB shot screenshots/nmos.svg

bench-river: models ## measure streaming: the disk's share, the cost of a pass, the start
	cargo bench $(locked) --bench river -- --json river.json

bench-streaming: bench-forged bench-rival ## as root: all figures of streaming, the rival's beside them

bench-gpu: models ## measure passes on a GPU against its link and its kernels (model=FILE for a larger one)
	cargo bench $(locked) --bench gpu -- $(model) --vram 4GiB --compare --widths --kv --compute-alone --timeline --json gpu.json

bench-forged: models ## the same with models of 4.7, 9 and 19 GB made for it (33 GB of disk) in 2 GiB
	@mkdir -p "$(forged)"
	@for size in 4.7 9; do test -e "$(forged)/$$size.gguf" || "$(nmos)" forge --size $${size}GB "$(forged)/$$size.gguf"; done
	@test -e "$(forged)/19.gguf" || "$(nmos)" forge --shape 32b --size 19GB "$(forged)/19.gguf"
	cargo bench $(locked) --bench river -- --json river.json --forged "$(forged)/4.7.gguf" "$(forged)/9.gguf" "$(forged)/19.gguf"

bench-rival: models ## as root: the same answers by llama.cpp in a memory group of 1 GiB, 15 minutes a round (rival_rounds=3)
	benches/rival/rival.py --json rival.json --rounds $(or $(rival_rounds),3)

bench-trees: models ## as root: token trees of every size and llama.cpp, 2 hours; goes on where it stopped
	@benches/trees/trees.py > /dev/null
	benches/trees/trees.py --open60

bench-experts: build ## as root: mixtures of 9 and 19 GB in a part of their memory, llama.cpp in turn; mixture=FILE makes them (28 GB of disk)
	@mkdir -p "$(forged)"
	@test -z "$(mixture)" || for shape in 9:768 19:1536; do \
		size=$${shape%:*}; file="$(forged)/experts-$$size.gguf"; \
		test -e "$$file" || "$(nmos)" forge --oracle "$(mixture)" --width 2048 --ff $${shape#*:} --size $${size}GB "$$file" || exit 1; \
	done
	benches/experts/experts.py $(if $(small),--small $(small)) $(if $(traces),--traces "$(traces)")

architectures: models ## what every architecture does, with small random models: docs/architectures.md (10 minutes)
	@"$(nmos)" models pull smollm2-135m
	ARCHITECTURES=all cargo test --release $(locked) --test architectures

fuzz-headers: build ## damaged model headers against plan and run, in 128 MiB (cases=20000, seed=1)
	fuzz/headers.py "$(nmos)" --cases $(or $(cases),20000) --seed $(or $(seed),1) --keep "$(cache)/nmos/headers-failed"

bench-busy: models ## answers and waits while other programs have the cores, llama.cpp in turn (30 minutes)
	benches/busy/busy.py --json busy.json

chat-references: ## render the chat templates of the tests by Python's jinja2 again
	scripts/chat-references

models: build ## fetch the default models (1.6 GB, once)
	@"$(nmos)" models pull

deps: ## check for cmake, libclang and a C++ compiler; as root, install them
	@scripts/deps

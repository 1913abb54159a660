# Every command that a person or CI needs; `make help` lists them. The work is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help demo test rust python crash hostile fuzz bench bench-peers endurance faults audit valgrind miri mutations lock races schedules clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z-]*\):.*## /  make \1: /p' $(MAKEFILE_LIST)

demo: ## set up, build, and run the main job on real data; leaves demo-store/ to look at
	@scripts/setup demo
	@scripts/build release
	@.venv/bin/python examples/demo.py

test: ## set up, and run every check and test there is; what CI runs
	@scripts/setup dev
	@scripts/test all

rust: ## only the checks and tests of the Rust crates
	@scripts/test rust

python: ## only the checks and tests of the Python package
	@scripts/setup dev
	@scripts/test python

crash: ## crash it by kill -9 and power cuts, and judge what it kept; ARGS="--full", names of runs
	@scripts/setup dev
	@scripts/build release
	@scripts/crash $(ARGS)

hostile: ## damage every byte of a small store, and look for values that are false; ARGS="--samples 500"
	@scripts/setup dev
	@scripts/build release
	@cd tests && ../.venv/bin/python -m hostile.flips $(ARGS)

fuzz: ## fuzz what reads bytes, guided by coverage (needs a nightly compiler); ARGS="--seconds 60 key"
	@mkdir -p .build
	@scripts/fuzz $(ARGS)

bench: ## set up, build, and measure single calls and counts of instructions, in Rust and in Python
	@scripts/setup demo
	@scripts/build release
	@scripts/bench

bench-peers: ## measure beside the peers and write a page; ARGS="--quick --only cache", --large, --traces
	@scripts/setup peers
	@scripts/build release
	@.venv/bin/python -m benches.peers $(ARGS)

endurance: ## set up, build, and load a store in four processes with kills; ARGS="--minutes 60"
	@scripts/setup dev
	@scripts/build release
	@PYTHONPATH=tests .venv/bin/python -m endurance $(ARGS)

faults: ## let every system call of every operation fail, once and for good; some minutes
	@HOLDALL_FAULTS=all cargo test --release --locked -p holdall --test faults -- --nocapture

audit: ## licences, sources and known weaknesses of all that is pinned (asks the network)
	@scripts/audit

valgrind: ## look for memory errors and leaks, in Rust and through Python (needs valgrind)
	@scripts/setup dev
	@scripts/memory-checks

miri: ## run what shares memory without a lock under Miri (needs a nightly compiler with miri)
	@scripts/miri $(ARGS)

mutations: ## break every rule of the disk on purpose and see its tests fail; ARGS="2.7 3.5" for some
	@scripts/setup dev
	@.venv/bin/python tests/mutations/run.py $(ARGS)

lock: ## pin the newest releases of what demo, test and bench-peers need (needs uv)
	@scripts/lock --upgrade

races: ## look for races for long: managers against a dict, forks; HOLDALL_RACES=, HOLDALL_FORKS=
	@scripts/setup dev
	@scripts/build dev
	@scripts/races

schedules: ## explore schedules of the engine's threads, with shuttle; ARGS="--count 100000 --seed 3 NAME"
	@scripts/schedules $(ARGS)

clean: ## remove what was built, and .venv; leaves demo-store/ alone
	rm -rf .venv .build target python/holdall/_core*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

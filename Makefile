# Each target makes the virtual environment when it is missing; Python 3.11+ with venv, make, git and cargo are all it needs.
PYTHON ?= python3
BIN := .venv/bin
# On two cores two workers; tests that need a core for themselves say so with xdist_group.
JOBS ?= 2

.PHONY: demo test check lint types imports bench bench-gate bench-index hostile simulate faults power serves mutants fuzz interop commands editors dist clean

.venv/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: carnet needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: .venv/ready
	@$(BIN)/python examples/demo.py

test: .venv/ready
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

imports: .venv/ready
	$(BIN)/lint-imports

check: lint types imports test

bench: .venv/ready
	$(BIN)/python benchmarks/bench_verify.py

# A build in which nothing changed, behind the gate and without it. PROJECTS="DIR..." for others than examples/app.
bench-gate: .venv/ready
	$(BIN)/python benchmarks/bench_gate.py --write docs/measured.md $(PROJECTS)

# A whole index of 250,000 names, made here and listed: time, memory, disk. Never a public one. NAMES=20000 for less.
bench-index: .venv/ready
	$(BIN)/python benchmarks/bench_whole_index.py --names $(or $(NAMES),250000)

# Every check of what a build trusts, taken out in turn: is there a test that fails? MODULE=carnet.tuf for a part of them.
mutants: .venv/ready
	@$(BIN)/python tests/mutants/run.py --module '$(MODULE)' --tests '$(or $(TESTS),tests)'

# Goes on where the last run stopped; what fails is kept in fuzz/failed. FUZZ="--seconds 600 --seed 2 toml" for less.
fuzz: .venv/ready
	@nice -n 19 $(BIN)/python -m tests.fuzz.fuzz $(FUZZ)

# What hostile input costs whoever reads it; fails when one kind is above the bound.
hostile: .venv/ready
	$(BIN)/python benchmarks/hostile.py
	$(BIN)/python -m pytest -s tests/attacks/sixteen_hundred.py

# Three years of mirrors with a clock of their own, run in several ways: nobody is refused but where holders were late.
simulate: .venv/ready
	$(BIN)/python tests/simulate/run.py

faults: .venv/ready
	$(BIN)/python tests/faults/run.py $(WORKS)

power: .venv/ready
	$(BIN)/python tests/faults/power.py

serves: .venv/ready
	$(BIN)/python tests/faults/serves.py

# What python-tuf, go-tuf and tuf-js make of the format; go and node, and the modules that go.sum and package-lock.json pin.
interop: .venv/ready
	$(BIN)/python -m pytest tests/interop/stock_clients.py

# cargo's commands behind the gate, with real programs; cargo-nextest and cargo-llvm-cov where they are installed.
commands: .venv/ready
	$(BIN)/python -m pytest tests/integration/cargo_commands.py tests/integration/cargo_install.py

# The real rust-analyzer behind a shim; CARNET_RUST_ANALYZER is the folder of a toolchain that has it, and rust-src.
editors: .venv/ready
	$(BIN)/python -m pytest tests/editors/rust_analyzer.py

# The same commit gives the same bytes: times in the archives are the commit's.
dist: .venv/ready
	@rm -rf dist
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -d dist > /dev/null
	@cd dist && { command -v sha256sum > /dev/null && sha256sum carnet-* || shasum -a 256 carnet-*; } | tee SHA256SUMS

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .mutants

# What people and CI run. `make demo` and `make test` need Python 3.11+ and a package index, nothing else.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast check bench proof clean-demo

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# The chain on the sample data, then the LoRA: everything lands in sample_data/raw-prepared.
demo: .venv/ready
	$(BIN)/dataprep run ./sample_data/raw --trigger sks
	$(BIN)/dataprep train ./sample_data/raw-prepared
	$(BIN)/dataprep report ./sample_data/raw-prepared

test: check
	$(BIN)/python -m pytest --cov=dataprep --cov-report=term:skip-covered

test-fast: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow" -x

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python -m benchmarks.chain
	for table in dedup search decode buckets fuzz memory tagging pruning captions latents training; do \
		$(BIN)/python -m benchmarks.$$table || exit 1; done

# Does the demo's LoRA draw the character when, and only when, the trigger is in the prompt? (after make demo)
# Then: is it the data that decides? Twenty trainings, some 80 minutes; goes on where it stood.
proof: .venv/ready
	$(BIN)/python -m benchmarks.proof
	$(BIN)/python -m benchmarks.arms

clean-demo:
	rm -rf sample_data/raw-prepared

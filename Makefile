# `make demo` and `make test` set up everything on a machine with Python 3.11 or newer, make and a C compiler.
PYTHON ?= python3
BIN := .venv/bin
# of the draws in `make bench`; `make bench SEED=…` repeats them
SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

.PHONY: demo test check bench clean

demo: .venv/ready
	$(BIN)/gristmill run recipes/miniweb.toml

test: .venv/ready
	$(BIN)/python -m pytest -q

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/ready
	$(BIN)/python benchmarks/pretrain.py
	$(BIN)/python benchmarks/bpe_train.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python -m pytest -q -m "slow or hypothesis" --hypothesis-profile=fresh --hypothesis-seed=$(SEED)

.venv/ready: pyproject.toml constraints.txt setup.py $(shell find src/gristmill -name "*.[ch]")
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv runs

# `make demo` and `make test` set up everything on a machine with Python 3.11 or newer, make and a C compiler.
PYTHON ?= python3
# a Python that is named (`make test PYTHON=python3.13`) has an environment of its own
VENV := .venv$(if $(filter-out file,$(origin PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# of the draws in `make bench`; `make bench SEED=…` repeats them
SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

.PHONY: demo test light check bench faults sanitize fuzz clean

demo: $(VENV)/ready
	$(BIN)/gristmill run recipes/miniweb.toml

# Tests run in one process more than there are cores, a file of them in one (`make test JOBS=0`: all in this one).
JOBS := auto --maxprocesses 4
# `make test COVERAGE=1` also counts the lines that tests reach, and fails below the floor of pyproject.toml.
test: $(VENV)/ready
	$(BIN)/python -m $(if $(COVERAGE),coverage run -m )pytest -q \
		-n $(if $(COVERAGE),0,$(JOBS)) --dist loadfile --no-loadscope-reorder
	$(if $(COVERAGE),$(BIN)/coverage report --skip-covered)

# What needs no model, on a Python for which there may be no small build of PyTorch: `make light PYTHON=python3.13`.
LIGHT := .venv-light
light:
	$(PYTHON) -m venv --clear $(LIGHT)
	$(LIGHT)/bin/python -m pip install --quiet -c constraints.txt $$($(PYTHON) tools/requirements.py --without torch)
	$(LIGHT)/bin/python -m pip install --quiet --no-deps -e .
	$(LIGHT)/bin/python -m pytest -q -n $(JOBS) --dist loadfile tests/html tests/inputs tests/settings tests/tokenizer \
		tests/crawl tests/corpus tests/test_hashing.py tests/test_progress.py

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $$(find src -name '*.[ch]')

bench: $(VENV)/ready
	$(BIN)/python benchmarks/pretrain.py
	$(BIN)/python benchmarks/bpe_train.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/serve.py
	$(BIN)/python -m pytest -q -m "slow or hypothesis" --hypothesis-profile=fresh --hypothesis-seed=$(SEED)

# Hostile answers, resources that run out, signals at every stage, and the time of every reader at two sizes.
faults: $(VENV)/ready
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile -m "slow or not slow" tests/faults

# The native part under address and undefined-behaviour sanitizers, and the tests that call it most.
SANITIZED := build/sanitized/_native.so
UNDER_SANITIZERS := LD_PRELOAD=$$($(CC) -print-file-name=libasan.so):$$($(CC) -print-file-name=libstdc++.so) \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 GRISTMILL_NATIVE=$(SANITIZED)
NATIVE_TESTS := tests/test_hashing.py tests/html tests/tokenizer tests/fuzz tests/model/test_kernels.py \
	tests/corpus/dedup tests/corpus/test_statistics.py tests/corpus/test_language.py tests/corpus/test_decontaminate.py \
	tests/training/test_loader.py tests/training/test_goldfish.py tests/generation tests/audit/test_trace.py

sanitize: $(VENV)/ready $(SANITIZED)
	$(UNDER_SANITIZERS) $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile $(NATIVE_TESTS)

fuzz: $(VENV)/ready $(SANITIZED)
	$(UNDER_SANITIZERS) $(BIN)/python tests/fuzz/fuzz.py --seconds $(or $(SECONDS),60)

$(SANITIZED): $(shell find src/gristmill -name "*.[ch]")
	mkdir -p $(@D)
	$(CC) -shared -fPIC -O1 -g -std=c11 -Wall -Wextra -Wno-psabi -fno-omit-frame-pointer \
		-fsanitize=address,undefined -fno-sanitize-recover=all $(filter %.c,$^) -lm -o $@

$(VENV)/ready: pyproject.toml constraints.txt setup.py $(shell find src/gristmill -name "*.[ch]")
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-* runs

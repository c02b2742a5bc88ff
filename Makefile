# prefloop: `make run` sets everything up and serves; `make test` sets everything up and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
HOST ?= 127.0.0.1
# Modules are compiled as they are first imported: most of those that pip would compile never are.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
TESTS ?= tests
# for two cores: half of a worker's time is waiting, for processes and for the disk
WORKERS ?= 3
QUICK := -m "not slow and not browser and not faults and not gpu"
# Each pytest process imports all that its tests import, and torch with transformers takes three times as long as all of
# the rest: these tests run in a process of their own, and the others without it.
WITH_TORCH := tests/benchmarks tests/flows tests/golden tests/workers tests/prefloop/test_answers.py \
  tests/prefloop/test_memory.py $(addprefix tests/prefloop/,engine losses model_sources policy tabular worlds)
# Compiled modules are kept, whatever the environment says: compiling them, and rewriting the tests' assertions, again in
# each process took longer than many a test.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run chat-demo test mutations vllm check static quick quick-torch quick-rest format bench-setup clean-venv

run: $(VENV)/.run
	@exec $(BIN)/python manage.py up --host $(HOST) --port $(PORT)

# The demo project of a real chat model: a download of 93 MB, then it answers and judges here.
chat-demo: $(VENV)/.run
	@$(BIN)/python manage.py migrate --verbosity 0
	@PREFLOOP_THREADS=$${PREFLOOP_THREADS:-$$(getconf _NPROCESSORS_ONLN)} $(BIN)/python manage.py seed_demo chat

# One thread for mathematics in each worker: several that wait for each other on the same cores take longer than one.
test: export OMP_NUM_THREADS := 1
test: $(VENV)/.test
	@$(BIN)/python -m tests.browser_setup
	$(BIN)/python -m pytest $(TESTS) -n $(WORKERS) --dist loadgroup --max-worker-restart 0 --durations=20

# Plants declared faults, one at a time, in a copy of the tree, and says which of them no test noticed (10 minutes).
mutations: $(VENV)/.test
	$(BIN)/python tests/mutations.py

# A real vLLM for CPUs, in an environment of its own; the tests that need it are skipped where it is missing.
vllm: | $(VENV)/bin/python
	@$(BIN)/python tests/vllm_setup.py

check: $(VENV)/.test
	@$(MAKE) --no-print-directory -j 3 static quick-torch quick-rest

# What needs no test to run; mypy reads again only what changed since the last time.
static: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tests/unused.py
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/mypy

quick: $(VENV)/.test
	@$(MAKE) --no-print-directory -j 2 quick-torch quick-rest

quick-torch: $(VENV)/.test
	$(BIN)/python -m pytest $(WITH_TORCH) --durations=10 $(QUICK)

quick-rest: $(VENV)/.test
	$(BIN)/python -m pytest tests $(WITH_TORCH:%=--ignore=%) -n 2 --dist loadgroup --durations=10 $(QUICK)

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	@echo "==> making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# torch first and by itself, so that nothing else chooses which build of it is taken
$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "==> installing what prefloop needs (a few minutes the first time)"
	@$(PIP) torch==2.13.0
	@$(PIP) -e '.[train]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "==> installing what the tests need"
	@$(PIP) -e '.[train,test,check]'
	@touch $@

bench-setup: $(VENV)/.run
	@echo "==> installing the peers that the benchmarks measure against"
	@$(PIP) -e '.[train,bench]'
	@test -x .venv-label-studio/bin/label-studio || { $(PYTHON) -m venv .venv-label-studio && \
	  .venv-label-studio/bin/python -m pip install --quiet --disable-pip-version-check label-studio==1.23.2; }

# finemill: everything a newcomer needs. `make demo` and `make test` set themselves up in .venv.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install cpu extras demo demo-instructions test test-all test-skipped lighteval lint bench clean

# The core with its development tools: no torch, no vLLM.
install: .venv/installed
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 5) and "finemill needs Python 3.11.5 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# A CPU build of torch and `transformers serve`, or one line of advice where that would fetch gigabytes of CUDA.
cpu: install
	@$(BIN)/python demo/install_cpu.py

# The main job on bundled documents with a bundled model of six million parameters.
demo: cpu
	$(BIN)/python pipelines/finephrase.py --config demo/demo.yaml

# From bundled queries and documents to instructions with answers, with the same model and a small embedding model.
demo-instructions: cpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,instruct,minilm]'
	$(BIN)/python pipelines/fineinstructions.py --demo

# Most tests wait for processes that they have started, so two at a time take little more than half as long.
# In the order of the files: xdist would put those with few tests last, and these take longest. One thread each: two
# processes whose threads wait for each other on two cores take ten times as long.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: cpu
	$(PYTEST)

# lighteval wants other releases than finemill does, so it lives beside it; on a CPU like the demo.
lighteval: install .venv-lighteval/bin/lighteval
.venv-lighteval/bin/lighteval: blocks/evaluate/tools/lighteval.py
	$(PYTHON) -m venv .venv-lighteval
	.venv-lighteval/bin/python demo/install_cpu.py
	$(BIN)/python -c 'from blocks.evaluate.tools.lighteval import INSTALL; print(INSTALL.replace(chr(39), ""))' \
		| xargs .venv-lighteval/bin/python -m pip install --quiet --disable-pip-version-check
	@touch $@

# Every optional part is there, and a skipped test is a failure.
test-all: extras
	FINEMILL_NO_SKIPS=1 $(PYTEST)

# The same for what the last `make test` had to skip: CI runs no test twice.
test-skipped: extras
	test ! -s .pytest_cache/skipped.txt || FINEMILL_NO_SKIPS=1 $(PYTEST) @.pytest_cache/skipped.txt

extras: cpu lighteval
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,s3,test-all,instruct,minilm,train]'

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every benchmark prints its figures last, as one JSON line. SMOKE=1 runs them small, to see that they work.
bench: cpu
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench,instruct,minilm,train]'
	$(BIN)/python tests/bench/overhead.py $(if $(SMOKE),--rounds 1 --documents 500 --in-flight 64)
	$(BIN)/python tests/bench/saturation.py $(if $(SMOKE),--documents 2500)
	$(BIN)/python tests/bench/memory.py $(if $(SMOKE),--small 500 --large 1000)
	$(BIN)/python tests/bench/resume.py $(if $(SMOKE),--chunks 0 50)
	$(BIN)/python tests/bench/prefix.py
	$(BIN)/python tests/bench/verify.py $(if $(SMOKE),--seconds 0)
	$(BIN)/python tests/bench/route.py $(if $(SMOKE),--documents 20)
	$(BIN)/python tests/bench/diversity.py $(if $(SMOKE),--seconds 0)
	$(BIN)/python tests/bench/tokens.py $(if $(SMOKE),--documents 500 --rounds 1)
	$(BIN)/python tests/bench/chunks.py $(if $(SMOKE),--limit 8)
	OMP_NUM_THREADS=1 $(BIN)/python tests/bench/embedding.py
	$(BIN)/python tests/bench/retrieval.py $(if $(SMOKE),--sizes 5000 --queries 192)
	$(BIN)/python tests/bench/report.py $(if $(SMOKE),--documents 20000)
	$(BIN)/python tests/bench/stragglers.py $(if $(SMOKE),--documents 60)

clean:
	rm -rf .venv .venv-lighteval runs

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test lint docs notebook pictures results bench torture clean

quickstart: .venv/runtime  ## get MNIST (or the built-in sample), train, evaluate
	$(BIN)/mnist-softmax quickstart

test: .venv/test  ## run the tests; MNIST_SOFTMAX_TEST_DATA=DIR adds those on full MNIST
	$(BIN)/python -m pytest -n 2

torture: .venv/dev  ## inject faults for an hour (Linux, root, strace); DATA=DIR adds rounds on full MNIST
	$(BIN)/python -m pytest -n 2 -m long
	$(BIN)/python tests/torture/run.py
ifdef DATA
	TORTURE_DATA=$(DATA) $(BIN)/python tests/torture/run.py --count 5
endif

lint: .venv/dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/runtime  ## write docs/cli.md from the commands' help
	$(BIN)/python docs/generate_cli.py

notebook: .venv/dev  ## run docs/walkthrough.ipynb and store its outputs
	$(BIN)/python docs/run_notebook.py

pictures: .venv/pictures  ## draw the pictures of docs/; DATA=DIR, with MNIST's files, adds the report's
	$(BIN)/python docs/generate_pictures.py $(DATA) $(STEPS)

bench: .venv/bench  ## measure beside the peers, and the page in Chromium, ten minutes; DATA=DIR takes the .gz files from there
	$(BIN)/python benchmarks/bench.py $(if $(DATA),--from $(DATA))

results: .venv/runtime  ## train and score every config, write docs/results.md; DATA=DIR as for bench
	$(BIN)/python benchmarks/results.py $(if $(DATA),--from $(DATA))

clean:  ## remove what make made
	rm -rf .venv build *.egg-info

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# Each stamp says that what it is named after is installed for this pyproject.toml.
.venv/runtime: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

.venv/test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable . --group test
	touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

.venv/pictures: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable . --group pictures
	touch $@

.venv/bench: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[report]' --group bench
	touch $@

# Two commands on a machine with nothing but Python 3.11 or newer, pip, make and git:
#   make demo    sets up .venv, renders sample clips, builds them, says where the report is
#   make test    sets up .venv, runs the whole test suite
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: demo test lint docs site clean
.DEFAULT_GOAL := test

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "curate needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/curate demo --out $(DEMO)

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

site: $(VENV)/.ready
	$(BIN)/python docs/publish.py

lint: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/publish.py

docs: $(VENV)/.ready
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info

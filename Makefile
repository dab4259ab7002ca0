# Each target sets up what it needs. VENV= names another virtual environment, PYTHON= another Python for a new one.

VENV ?= .venv
PYTHON ?= python3
DIST ?= dist
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
INSTALLED := $(VENV)/.oodbench-installed

.PHONY: help install demo test check docs bench leaderboards wheels clean

help:
	@echo "make demo     train AE and EBAE on handwritten digits and compare them (minutes)"
	@echo "make test     the tests of the core and of every plugin"
	@echo "make check    ruff, mypy, import-linter"
	@echo "make docs     the documentation as a site in build/site; a broken link fails"
	@echo "make bench    run the benchmarks and write benchmarks/RESULTS.md"
	@echo "make leaderboards  run the suites that need no download, and write their pages (hours on two cores)"
	@echo "make wheels   build the core's and the plugins' wheels into $(DIST)/"
	@echo "make install  only make $(VENV) and install the core and every plugin there"
	@echo "make clean    remove what the tools left; keeps $(VENV) and results"

install: $(INSTALLED)

# One pip call for all, so that the plugins find the core here and torch and torchvision are resolved as a pair.
$(INSTALLED): pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	@test -x $(VENV)/bin/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "oodbench needs Python 3.11 or newer, and $(PYTHON) is not: make PYTHON=python3.12 install" >&2; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --editable '.[dev]' $(PLUGINS:%=--editable ./%)
	@touch $@

DEMO := leaderboards/mnist5k-demo/suite.toml
demo: install
	$(VENV)/bin/oodbench run $(DEMO) --store demo
	$(VENV)/bin/oodbench figure $(DEMO) --store demo --images 6 --output demo/figure.png

# One process a core, and one more as some tests wait; one thread a process. A file's tests stay together: they share
# fits; the longest files come first (tests/conftest.py). What is imported is compiled once, whatever the shell says.
test: install
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest \
		--numprocesses $(shell expr $$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2) + 1) --dist loadfile --no-loadscope-reorder --durations 30

check: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: install
	$(VENV)/bin/python docs/generate.py build
	$(VENV)/bin/zensical build --strict --clean --config-file build/zensical.toml

bench: install
	$(VENV)/bin/python -m benchmarks > $(VENV)/benchmarks.md
	mv $(VENV)/benchmarks.md benchmarks/RESULTS.md

# Those whose data come in packages: on a CPU, with quick presets. STORE= keeps the runs elsewhere, JOBS= at once.
OFFLINE := mnist5k-demo mnist5k-holdout mnist5k-ood photos-ood mnist5k-ablation
STORE ?= results
JOBS ?= 2
leaderboards: install
	set -e; for suite in $(OFFLINE:%=leaderboards/%); do \
		$(VENV)/bin/oodbench run $$suite --store $(STORE) --jobs $(JOBS); \
		$(VENV)/bin/oodbench publish $(STORE) $$suite --drop older; \
	done

wheels: install
	rm -f $(DIST)/oodbench*.whl
	set -e; for package in . $(PLUGINS); do \
		$(VENV)/bin/python -m build --wheel --no-isolation --outdir $(DIST) $$package; \
	done

clean:
	rm -rf dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

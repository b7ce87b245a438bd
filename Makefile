# The front door. `make demo` and `make test` need Python 3.11 or newer and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(shell command -v uv >/dev/null 2>&1 && echo "uv pip install --quiet --python $(BIN)/python" || echo "$(BIN)/python -m pip install --quiet --disable-pip-version-check")
INPUTS := pyproject.toml constraints.txt
CLOCK := tests/engines tests/bench tests/crash
FULL_SIZE = WHEREUPON_BOUND_BACKLOG=20000 PYTEST_ADDOPTS="-o faulthandler_timeout=7200"

.PHONY: help demo django-shop fastapi-shop test check bench crash engines docs clean

help:
	@echo "make demo    publish a repository's history as events, kill the worker, lose nothing"
	@echo "make django-shop, make fastapi-shop: start one of the two example shops with its worker"
	@echo "make test    run the tests; where a server is missing, its tests are skipped with the reason"
	@echo "make check   format, lint, types, architecture"
	@echo "make bench   measure against peers; writes bench/results"
	@echo "make crash   the fault rig: kill publishers and workers; ROUNDS=1000 for more"
	@echo "make engines the cases of all engines at full size, for hours; ENGINES='rq dramatiq' for some"
	@echo "make docs    build the documentation into site/"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("whereupon needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python $(INPUTS)
	@echo "installing whereupon ..."
	@$(INSTALL) -c constraints.txt -e '.[rich]' && touch $@

$(VENV)/.examples: $(BIN)/python $(INPUTS)
	@echo "installing what the shops need ..."
	@$(INSTALL) -c constraints.txt -e '.[examples]' && touch $@

$(VENV)/.test: $(BIN)/python $(INPUTS)
	@echo "installing what the tests need ..."
	@$(INSTALL) -c constraints.txt -e '.[test]' && touch $@

$(VENV)/.dev: $(BIN)/python $(INPUTS)
	@echo "installing the development tools ..."
	@$(INSTALL) -c constraints.txt -e '.[dev]' && touch $@

$(VENV)/.bench: $(BIN)/python $(INPUTS)
	@echo "installing the peers to measure against ..."
	@$(INSTALL) -c constraints.txt -e '.[bench]' && touch $@

$(VENV)/.docs: $(BIN)/python $(INPUTS)
	@echo "installing the documentation tools ..."
	@$(INSTALL) -c constraints.txt -e '.[docs]' && touch $@

demo: $(VENV)/.run
	@$(BIN)/whereupon demo $(ARGS)

django-shop: $(VENV)/.examples
	@$(BIN)/python examples/django_shop/manage.py shop $(ARGS)

fastapi-shop: $(VENV)/.examples
	@$(BIN)/python examples/fastapi_shop $(ARGS)

test: $(VENV)/.test
	@$(BIN)/coverage erase
ifdef ARGS
	@$(BIN)/coverage run -m pytest $(ARGS)
else
	@echo "tests that do not watch the clock, two at a time ..."
	@$(BIN)/coverage run -m pytest -q -n 2 --dist loadfile $(addprefix --ignore=,$(CLOCK))
	@echo "tests of workers that are killed, and of the bench, one at a time ..."
	@$(BIN)/coverage run -m pytest -q $(CLOCK)
endif
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python --level error
	$(BIN)/python -m pytest -q tests/architecture tests/types

bench: $(VENV)/.bench
	@$(BIN)/python -m bench $(ARGS)

crash: $(VENV)/.test
	@$(BIN)/python -m tests.crash --rounds $(or $(ROUNDS),100)

# The kit waits a minute for a backlog. Workers of RQ and django-tasks-db are one process and would need longer.
engines: $(VENV)/.test
	@failed=; for engine in $(or $(ENGINES),local celery procrastinate dramatiq rq django_tasks); do \
		case $$engine in rq) set 300 25;; django_tasks) set 1000 25;; *) set 5000 100;; esac; \
		size=$(or $(BACKLOG),$$1) kills=$(or $(KILLS),$$2); \
		echo "$$engine, backlogs of $$size deliveries, $$kills kills ..."; \
		WHEREUPON_BACKLOG=$$size WHEREUPON_KILLS=$$kills $(FULL_SIZE) $(BIN)/python -m pytest -q \
			-m "exhaustive or not exhaustive" tests/engines/$$engine $(ARGS) || failed="$$failed $$engine"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

docs: $(VENV)/.docs
	@$(BIN)/zensical build --clean

clean:
	rm -rf $(VENV) build dist site .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache

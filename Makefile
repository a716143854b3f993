# `make demo` is the shortest way in; `make help` lists the rest. Needs Python 3.11 or later, nothing else.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
OURS := manage.py hub canonical connectors reconciliation tests
ARGS ?=

# Settings that satisfy production, for checks that never connect to anything.
PRODUCTION := env TIEOUT_ENV=production TIEOUT_ALLOWED_HOSTS=tieout.invalid TIEOUT_LOG_FORMAT=console \
	DATABASE_URL=postgresql://nobody@localhost/none REDIS_URL=redis://localhost/0 \
	TIEOUT_SECRET_KEY="$$(head -c 48 /dev/urandom | base64 | tr -d '\n')" \
	TIEOUT_DATA_KEYS="$$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"

.PHONY: help setup demo run test check fmt bench chaos fuzz browser rt lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1|/' | column -t -s'|'

setup: $(STAMP)  ## .venv with the locked dependencies, only when they changed

$(STAMP): requirements/dev.txt
	@python=""; for candidate in python3 python3.13 python3.12 python3.11 python3.14; do \
	  if command -v $$candidate >/dev/null && $$candidate -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "Tieout needs Python 3.11 or later with the venv module, and found none on PATH." >&2; exit 1; fi; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo "creating $(VENV) with $$($$python --version)"; rm -rf $(VENV); $$python -m venv $(VENV); fi
	@echo "installing the locked dependencies (a minute the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@echo "$(CURDIR)" > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tieout.pth"
	@touch $@

demo: setup  ## the hub with sample peers, people and stories (ARGS=--once runs them to the end)
	@$(PY) manage.py up --demo $(ARGS)

run: setup  ## the hub as it is configured
	@$(PY) manage.py up $(ARGS)

test: setup  ## the tests, on a PostgreSQL and Redis of their own
	@$(PY) -m pytest -n $(or $(JOBS),2) --dist worksteal $(ARGS)

check: setup  ## formatting, lint, types, layers, migrations, deployment settings
	@echo "── ruff"; $(VENV)/bin/ruff check $(OURS); $(VENV)/bin/ruff format --check $(OURS)
	@echo "── mypy"; $(VENV)/bin/mypy
	@echo "── import-linter"; $(VENV)/bin/lint-imports
	@echo "── migrations"; $(PY) manage.py makemigrations --check --dry-run
	@echo "── deployment"; $(PRODUCTION) $(PY) manage.py check --deploy --fail-level WARNING

fmt: setup  ## format, and fix what can be fixed
	@$(VENV)/bin/ruff format $(OURS); $(VENV)/bin/ruff check --fix $(OURS)

bench: setup  ## how much it carries, and how fast
	@$(PY) manage.py bench $(or $(ARGS),ingest)

chaos: setup  ## processes killed, replies lost, brokers emptied; nothing may be lost or done twice
	@$(PY) manage.py chaos $(ARGS)

fuzz: setup $(VENV)/.fuzz  ## hostile deliveries made by a coverage-guided fuzzer, and deep property tests
	@$(PY) -m tests.fuzz.fuzz_signatures -max_total_time=$(or $(FUZZ_SECONDS),60)
	@HYPOTHESIS_PROFILE=deep $(PY) -m pytest -m hypothesis tests/connectors/test_signatures.py tests/canonical/test_money.py $(ARGS)

browser: setup $(VENV)/.browser  ## the back office in a real Chromium (Debian: chromium-headless-shell)
	@$(PY) -m pytest -m browser $(ARGS)

rt: setup  ## the support workflow on a real Request Tracker 5 (Debian: request-tracker5 rt5-standalone rt5-db-sqlite)
	@$(PY) -m pytest -m rt $(ARGS)

$(VENV)/.fuzz: requirements/fuzz.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	@touch $@

$(VENV)/.browser: requirements/browser.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/browser.txt
	@touch $@

lock: setup  ## choose the newest versions pyproject.toml allows, and write them down with their hashes
	@test -x $(VENV)/lock/bin/uv || { $(PY) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv; }
	@compile() { $(VENV)/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-header --no-annotate "$$@"; }; \
	compile pyproject.toml --group embedded -o requirements/runtime.txt; \
	compile pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt; \
	compile --group browser -c requirements/dev.txt -o requirements/browser.txt; \
	compile --group fuzz -c requirements/dev.txt -o requirements/fuzz.txt; \
	compile --group peer-tryton -o requirements/peer-tryton.txt; \
	compile --group peer-localstripe -o requirements/peer-localstripe.txt; \
	compile --group peer-roundup -o requirements/peer-roundup.txt

clean:  ## forget the environment and all local data, the embedded database included
	rm -rf $(VENV) .local .mypy_cache .pytest_cache .ruff_cache

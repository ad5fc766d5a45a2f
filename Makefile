# Every target sets up what it needs in .venv; the second run touches no network.
# Overridable: PYTHON (any >= 3.11), UV (default: a private copy in .uv).

PYTHON ?= python3
UV ?= .uv/bin/uv
BIN := .venv/bin

export UV_PYTHON_DOWNLOADS ?= never

LOCKED := pyproject.toml uv.lock
DEFAULT := .venv/.default
DEV := .venv/.dev
DOCS := .venv/.docs

.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs bench-quick clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(DEV)  ## install fate with every extra, and the developers' tools
	@echo "$(BIN)/fate is ready"

demo: $(DEFAULT)  ## run the demo workflow on real models
	@mkdir -p demo
	$(BIN)/fate run examples/brief.yaml --input document=@examples/document.txt \
		--json demo/summary.json --timeline demo/timeline.html
	@echo "summary: demo/summary.json   timeline: open demo/timeline.html in a browser"

test: $(DEV)  ## run the tests
	$(BIN)/pytest

check: $(DEV)  ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

docs: $(DOCS)  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

bench-quick: $(DEFAULT)  ## the live benchmark, three pairs (about 15 minutes on 2 cores)
	$(BIN)/fate bench live --seeds 0-2 --out out/bench-quick

clean:  ## remove the environments and everything generated
	rm -rf .venv .uv demo out site

# --- set-up ----------------------------------------------------------------------------------
# `--inexact` installs what is missing and removes nothing, so that the targets share one
# environment. tools/sync.sh falls back on pip where uv cannot reach the package index.

$(DEFAULT): $(LOCKED) | $(UV)
	@sh tools/sync.sh $(UV) $(PYTHON) --no-default-groups
	@touch $@

$(DEV): $(LOCKED) | $(UV)
	@sh tools/sync.sh $(UV) $(PYTHON) --all-extras --group dev
	@touch $(DEFAULT) $@

$(DOCS): $(LOCKED) | $(UV)
	@sh tools/sync.sh $(UV) $(PYTHON) --all-extras --group dev --group docs
	@touch $(DEFAULT) $(DEV) $@

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fate needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv .uv || \
		{ echo "$(PYTHON) has no venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

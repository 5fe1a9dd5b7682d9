# `make` lists the targets. Each sets up .venv first, and silently skips that when it is up to date.
# ARGS reaches the program that a target runs: make bench ARGS=--quick, make lab ARGS=--no-browser

PORT ?= 8866
PYTHON ?= python3.11
ARGS ?=

RUN := .venv/bin/python
SITE := .venv/lib/python3.11/site-packages
DONE := .venv/setup.done
# What .venv is made from: as long as this equals what $(DONE) says, there is nothing to set up.
MADE_FROM = { $(RUN) --version; pwd; cat requirements.txt constraints.txt pyproject.toml; } 2>&1 | cksum

# $(call apt,PACKAGE) installs a Debian package; it fails where there is no apt-get.
apt = { command -v apt-get >/dev/null && as=$$(test "$$(id -u)" = 0 || echo sudo) \
	&& $$as apt-get update && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y $(1); }

NEED_PYTHON = Python 3.11 with its venv module is needed. Install it, or say where it is: make setup PYTHON=/path/to/python3.11
NEED_BROWSER = The browser tests need Chromium or Chrome on the PATH, as chromium, chromium-browser or google-chrome.

.PHONY: help setup environment python browser apps lab test bench record html pictures

help:
	@sed -n 's/^\([a-z]*\):.*## /\1 - /p' Makefile

setup: ## prepare .venv (again, when a pin or this folder's place has changed)
	@:

ifneq ($(shell $(MADE_FROM)),$(shell cat $(DONE) 2>/dev/null))
setup: environment
endif

# May be interrupted anywhere: only the last line says that it is done. pip writes a package's
# INSTALLER file last, so a package without one was cut short, and would be taken for whole.
environment: python
	@echo "Setting up .venv: about 3 GB, some minutes."
	@rm -f $(DONE)
	@for part in $(SITE)/*.dist-info; do test -e "$$part/INSTALLER" || rm -rf "$$part" $(SITE)/~*; done
	@$(RUN) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		&& grep -qsF '$(CURDIR)/.venv/' .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	@$(MADE_FROM) > $(DONE).next
	@$(RUN) -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt
	@install -D -m 644 helpers/app/etc/voila.py .venv/etc/jupyter/voila.py  # an editable install leaves it out
	@install -D -m 644 helpers/app/etc/overrides.json .venv/share/jupyter/lab/settings/overrides.json  # no news pop-up
	@echo "Compiling the simulator: half a minute."
	@$(RUN) -m helpers.cloud_distributed
	@mv $(DONE).next $(DONE)

python:
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| $(call apt,python3.11-venv) || { echo "$(NEED_PYTHON)" >&2; exit 1; }

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| $(call apt,chromium) || { echo "$(NEED_BROWSER)" >&2; exit 1; }

apps: setup ## all five notebooks as pages on 127.0.0.1, PORT=8866
	@$(RUN) -m helpers.app.server.voila --port $(PORT)

lab: setup ## the first notebook in JupyterLab
	@$(RUN) -m jupyterlab --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
		$(ARGS) notebooks/1_model_optimization.ipynb

# pytest fails when a folder holds no tests (exit code 5), and so does make.
test: setup browser ## everything that CI checks
	$(RUN) -m ruff check
	$(RUN) -m pytest tests/unit -n 2 --dist loadfile
	OMP_NUM_THREADS=1 $(RUN) -m pytest tests/notebooks -n 2 --dist worksteal  # two of one thread each beat one of two
	$(RUN) -m pytest tests/browser -n 2 --dist loadfile

bench: setup ## this project beside its peers
	$(RUN) -m benchmarks $(ARGS)

record: setup ## measure on this machine what the pages show when they open
	$(RUN) -m recording $(ARGS)

html: setup ## executed copies of the notebooks in build/html
	$(RUN) -m nbconvert --to html --execute --output-dir build/html notebooks/*.ipynb

pictures: setup ## the README's pictures of the pages
	$(RUN) -m recording.pictures $(ARGS)

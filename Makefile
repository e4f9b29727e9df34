# Two commands: `make demo` (see it work) and `make test`. Everything lives in one virtual environment in the tree.
#   PYTHON=...       the Python 3.11 or later that the environment is made with
#   TORCH_INDEX=...  a package index for torch alone: the default one has torch's CUDA build, several
#                    gigabytes; PyTorch's own CPU index (on their installation page) has the small one
#   TESTS=...        what `make test` runs, in LANES=... processes at a time
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
TESTS ?= tests
LANES ?= 2

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready

.PHONY: demo up test check loadtest lock setup clean
.DELETE_ON_ERROR:

demo: setup
	$(VENV)/bin/judgefree demo

up: setup
	$(VENV)/bin/judgefree up

test: setup check
	$(VENV)/bin/python -m pytest --numprocesses $(LANES) $(TESTS)

loadtest: setup
	$(VENV)/bin/judgefree loadtest

check: setup
	$(VENV)/bin/ruff format --check --quiet
	$(VENV)/bin/ruff check --quiet
	$(VENV)/bin/mypy

setup: $(READY)

# Each step may be interrupted and run again: pip skips what is there, and the mark is set last.
$(READY): pyproject.toml requirements.lock Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "judgefree needs Python 3.11 or later; name one with PYTHON=..."; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) (4 GB, a few minutes the first time) ..."
	@$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	@$(PIP) install --quiet --no-deps --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/python tools/lock.py

clean:
	rm -rf $(VENV) build

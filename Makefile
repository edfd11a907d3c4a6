# Everything from nothing in one command each: `make demo`, `make test`, `make lint`. Needs Python 3.11 or later, and a network for the first run only.

VENV := .venv
BIN := $(VENV)/bin
# The interpreter to build .venv with. Empty takes the first that will do, 3.11 before others because constraints.txt was tested on it.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python)
INSTALL := $(BIN)/python -m pip --disable-pip-version-check --no-input install -qq
# Workers of the test run. One thread for each, and for the demonstration: in matrices this small a second thread costs more than it brings.
WORKERS ?= 2
# open_clip and what only it needs, in a folder that only tests/differential looks into: see the extra `openclip` in pyproject.toml.
OPENCLIP := open_clip_torch torchvision timm ftfy wcwidth
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo space test lint format docs clean

help: ## say what there is
	@grep -E '^[a-z]+:.*## ' Makefile | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

demo: $(VENV)/installed ## see it work, offline after the first install
	OMP_NUM_THREADS=1 $(BIN)/amdet-hub demo $(ARGS)

space: $(VENV)/installed-space ## open the web page on the demonstration's models, offline after the first install
	OMP_NUM_THREADS=1 $(BIN)/amdet-hub space --demo $(ARGS)

test: $(VENV)/installed-dev ## run every test; ARGS="tests/hub -k gated" runs some
	@sh tests/web/install_chromium.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/installed-dev ## style, types, the walls between rooms, the workflows
	@status=0; \
	for check in "ruff check ." "ruff format --check ." "mypy" "lint-imports"; do \
	  echo "$$check"; $(BIN)/$$check || status=1; \
	done; \
	bash .ci/lint-workflows || status=1; \
	exit $$status

format: $(VENV)/installed-dev ## let ruff put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs ## write the generated parts of docs/, and build the site into build/site, offline; a broken link fails
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --clean --strict

clean: ## remove .venv and every cache
	rm -rf $(VENV) build/site .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The stamps: an install is repeated only when what it was made from has changed. The build backend is installed first and used without
# build isolation, so that it is pinned like everything else.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing into $(VENV), with the versions of constraints.txt"
	@$(INSTALL) -c constraints.txt hatchling editables
	@$(INSTALL) --no-build-isolation -c constraints.txt -e .
	@touch $@

$(VENV)/installed-space: $(VENV)/installed
	@echo "Installing what the web page needs"
	@$(INSTALL) --no-build-isolation -c constraints.txt -e '.[space]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo "Installing what the site needs"
	@$(INSTALL) --no-build-isolation -c constraints.txt -e '.[docs]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need"
	@$(INSTALL) --no-build-isolation -c constraints.txt -e '.[dev]'
	@$(INSTALL) --no-deps --upgrade --target $(VENV)/openclip -c constraints.txt $(OPENCLIP)
	@touch $@

# pip is the last thing that venv makes: a folder without it is an interrupted one, and is made again.
$(BIN)/pip:
	@for python in $(CANDIDATES); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$("$$python" --version); the first time takes some minutes"; \
	    "$$python" -m venv $(VENV) && exit 0; \
	  fi; \
	done; \
	echo "amdet-hub needs Python 3.11 or later, with its venv module. Tried: $(CANDIDATES)." >&2; \
	echo "Install one, or name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; \
	exit 1

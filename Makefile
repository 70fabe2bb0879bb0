# Two commands matter: `make quickstart` and `make test`. Both set up all they need.

SHELL := /bin/sh
# The first interpreter that is new enough and can make a virtual environment.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 /usr/bin/python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
OLDEST := .venv-oldest
BIN := $(VENV)/bin
WHEEL := .make/wheel
PIP_FLAGS := --quiet --disable-pip-version-check
SOURCES := $(shell find src examples -name '*.py') pyproject.toml README.md
# One worker more than cores, for many wait for servers. An idle one takes over what another still has to do: the slow
# tests are not spread evenly.
PYTEST_FLAGS ?= -n 3 --dist worksteal
# With the oldest MLflow, what speaks with it most is tried on all stores, the rest over REST alone.
ON_OLDEST := (tracker or registry or plain_mlflow or senders or artifact_repositories or history or http) and not first_opening

# Nothing here may report to anybody, or start work of its own.
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export GAMES

.PHONY: help quickstart example-lifecycle example-rf example-basketworld example-basketworld-app test test-unit test-oldest test-long bench bench-long lint format docs dev clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

quickstart: .make/quickstart ## Train, track, register, promote and load back a model; GAMES=file.csv for your own games
	@$(BIN)/holdfast quickstart

example-lifecycle: .make/quickstart ## A model from its first run to Production and back, gates and approvals included; GAMES=file.csv
	@$(BIN)/python -m holdfast_examples.game_outcomes.lifecycle $(if $(GAMES),--games "$(GAMES)")

example-rf: .make/rf ## Learn to locate transmitters, export to ONNX, promote, and draw the maps; some minutes
	@$(BIN)/python -m holdfast_examples.rf_localization.end_to_end

example-basketworld: .make/basketworld ## Learn basketball on hexagons by self-play, and judge it; about twelve minutes
	@$(BIN)/python -m holdfast_examples.basketworld.end_to_end

example-basketworld-app: .make/basketworld ## A page to watch the policies play, and to play against them
	@$(BIN)/python -m holdfast_examples.basketworld.app

test: .make/test .make/browser $(WHEEL) .make/oldest ## All tests, on the built wheel, with the newest and the oldest MLflow
	PYTHONPATH=$(CURDIR)/$(WHEEL) HOLDFAST_TESTED_WHEEL=$(WHEEL) $(BIN)/python -m pytest $(PYTEST_FLAGS)
	PYTHONPATH=$(CURDIR)/$(WHEEL) HOLDFAST_TESTED_WHEEL=$(WHEEL) $(OLDEST)/bin/python -m pytest tests/contract -k "$(ON_OLDEST)" $(PYTEST_FLAGS)

test-unit: .make/test ## The unit tier alone, on the sources
	$(BIN)/python -m pytest tests/unit $(PYTEST_FLAGS)

test-oldest: $(WHEEL) .make/oldest ## The suites of the tracker and the registry with the oldest MLflow
	PYTHONPATH=$(CURDIR)/$(WHEEL) HOLDFAST_TESTED_WHEEL=$(WHEEL) $(OLDEST)/bin/python -m pytest tests/contract -k "$(ON_OLDEST)" $(PYTEST_FLAGS)

bench: .make/test .make/bench ## Measure against plain MLflow and other loggers, side by side; BENCH_FLAGS="--only calls"
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

bench-long: .make/test .make/bench ## The same with 200 kills of each kind and outages of 60 s; hours
	$(BIN)/python -m benchmarks --trials 200 --outage 60

test-long: .make/test ## The crash and kill tests with many more trials: half an hour
	HOLDFAST_LONG_TESTS=1 $(BIN)/python -m pytest tests/crash tests/integration/test_kills.py --timeout 3600 $(PYTEST_FLAGS)

lint: .make/test .make/lint ## Style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=src:.dev $(BIN)/lint-imports

format: .make/lint ## Put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .make/docs ## Build the documentation into site/
	@$(BIN)/python -m typer holdfast.cli.app utils docs --name holdfast --output docs/reference/cli.md >/dev/null
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

dev: .make/test .make/lint .make/docs ## Everything for working on Holdfast, installed from the sources

clean: ## Remove what these commands made, but no runs and no models
	rm -rf $(VENV) $(OLDEST) .venv-bench .make .dev build dist site

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

define install
	@echo "Installing $(1) into $(VENV), which takes a minute or two the first time ..."
	@mkdir -p .make .dev && ln -sfn ../examples .dev/holdfast_examples
	@$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[$(1)]'
	@touch $@
endef

# The peers of the benchmark, in an environment of their own; one that does not install is left out.
.make/bench: $(BIN)/python benchmarks/install_peers.sh
	@mkdir -p .make && sh benchmarks/install_peers.sh $(BIN)/python
	@touch $@

.make/quickstart: $(BIN)/python pyproject.toml constraints.txt
	$(call install,quickstart)

# Debian's Chromium, for the tests of the page.
.make/browser: tests/install_browser.sh
	@mkdir -p .make && sh tests/install_browser.sh
	@touch $@

.make/basketworld: $(BIN)/python pyproject.toml constraints.txt
	$(call install,basketworld)

.make/rf: $(BIN)/python pyproject.toml constraints.txt
	$(call install,rf)

.make/test: $(BIN)/python pyproject.toml constraints.txt
	$(call install,test)

.make/lint: $(BIN)/python pyproject.toml constraints.txt
	$(call install,lint)

.make/docs: $(BIN)/python pyproject.toml constraints.txt
	$(call install,docs)

$(WHEEL): $(SOURCES) | .make/test
	@rm -rf $(WHEEL) dist
	@$(BIN)/python -m pip wheel $(PIP_FLAGS) --no-deps -w dist .
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --target $(WHEEL) dist/holdfast-*.whl
	@touch $(WHEEL)

.make/oldest: $(BIN)/python pyproject.toml constraints-oldest.txt
	@echo "Installing the oldest supported MLflow into $(OLDEST) ..."
	@$(PYTHON) -m venv $(OLDEST)
	@$(OLDEST)/bin/python -m pip install $(PIP_FLAGS) -c constraints-oldest.txt '.[server,testing]' psycopg2-binary hypothesis pytest-timeout pytest-xdist
	@$(OLDEST)/bin/python -m pip uninstall $(PIP_FLAGS) --yes holdfast
	@touch $@

# Everything runs in .venv, which each target makes for itself. What is installed there is pinned by
# constraints.txt; a stamp file for each dependency group keeps later runs from asking pip again.

PYTHON ?= python3
PYTEST_ARGS ?= -n 2
BENCH_ARGS ?=
COUNTS_ARGS ?=
SEEDS ?=

VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
PEERS := prefect dbos dask ray huey joblib hamilton
# Those whose package has another name.
PACKAGE_dask := distributed
PACKAGE_hamilton := apache-hamilton
# What has worker processes, kills processes, restarts servers and has several machines takes as long as all the rest.
PROCESSES := $(addprefix tests/,acceptance concurrency deaths durability isolation postgres runners)
# Clusters of Dask and Ray have processes of their own, and take long to start. A process has one Ray at a time.
CLUSTERS := tests/distributed
# Forked children in which time, threads and chance are simulated, and flows that are killed at each point.
SIMULATIONS := tests/simulation tests/testing
# Every task runner has to keep the same rules.
RULES := tests/runners/conformance
ELSEWHERE := $(PROCESSES) $(SIMULATIONS) $(CLUSTERS)
# What takes a server or a cluster has targets of its own.
QUICK := not (postgres or dask or distributed)
# But for what takes a new folder for a new database.
ON_POSTGRES := tests/transactions tests/concurrency/test_limits.py tests/concurrency/test_tags.py \
	tests/testing/test_invariants.py \
	$(patsubst %,tests/engine/test_%.py,cancellation caching pauses resuming submitting suspending taking_over transactions)
EXTRAS := arrow,dask,lz4,otel,postgres,ray,ui,zstd
PIP := -m pip --disable-pip-version-check --quiet
PIP_INSTALL := $(BIN)/python $(PIP) install --constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: bench bench-clusters bench-handover bench-limits bench-peers bench-writers check clean constraints counts demo \
	docs format help simulate test test-distributed test-oldest test-postgres test-processes test-simulation

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-17s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## run the example pipeline over the flights of 2013
	@$(BIN)/python examples/flights.py

test: $(VENV)/.test $(VENV)/.demo $(VENV)/.docs ## run the tests (PYTEST_ARGS="-n 2" by default)
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m '$(QUICK)' $(ELSEWHERE:%=--ignore=%)
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m dask $(RULES)

test-processes: $(VENV)/.test $(VENV)/.demo ## run what has worker processes, kills, restarts of servers and several machines
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m '$(QUICK)' $(PROCESSES)

test-simulation: $(VENV)/.test $(VENV)/.demo ## run hundreds of seeds of the simulation, and the tests of the testing kit
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m '$(QUICK)' $(SIMULATIONS)

simulate: $(VENV)/.test ## run ten thousand seeds of the simulation (SEEDS="10000 0" by default: how many, from which)
	@$(BIN)/python -m tests.simulation $(SEEDS)

test-distributed: $(VENV)/.test $(VENV)/.demo ## run what has clusters of Dask and Ray whose workers, drivers and schedulers are killed
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'not ray' $(CLUSTERS)
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m 'distributed and not ray' $(RULES) tests/cli tests/examples
	@$(BIN)/python -m pytest -m ray $(CLUSTERS)
	@$(BIN)/python -m pytest -m ray $(RULES)

test-postgres: $(VENV)/.test ## run what has PostgreSQL as the database: the store, transactions, limits, going on
	@$(BIN)/python -m pytest $(PYTEST_ARGS) -m postgres tests/store tests/concurrency tests/examples
	@MAINSPRING_TEST_ON_POSTGRES=1 $(BIN)/python -m pytest $(PYTEST_ARGS) -k 'not killed_at_any_write' $(ON_POSTGRES)

check: $(VENV)/.check $(VENV)/.test $(VENV)/.demo ## check format, lint, types and architecture
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/python -m pytest -q tests/architecture

format: $(VENV)/.check ## format the code and apply the safe fixes of the linter
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: $(VENV)/.docs ## build the documentation into build/docs
	@$(BIN)/python tools/lifecycle.py
	@$(BIN)/sphinx-build --fail-on-warning --quiet docs build/docs
	@echo "open build/docs/index.html"

bench: $(VENV)/.test $(VENV)/.demo ## measure what mainspring costs (BENCH_ARGS="--page docs/explanation/performance.md" keeps it)
	@$(BIN)/python -m benchmarks --json build/bench/figures.json --plots build/bench $(BENCH_ARGS)

counts: $(VENV)/.test ## count what each path does, beside what is recorded (COUNTS_ARGS="--record" keeps it)
	@$(BIN)/python -m tests.performance $(COUNTS_ARGS)

bench-clusters: $(VENV)/.test ## measure tasks on Dask and Ray beside bare calls there, in half an hour
	@$(BIN)/python -m benchmarks.clusters $(BENCH_ARGS)

bench-limits: $(VENV)/.test ## measure how soon calls that block are settled, and keep it in the documentation
	@$(BIN)/python -m tests.acceptance.timeout_matrix --page docs/explanation/timeouts.md

bench-writers: $(VENV)/.test ## let 16 processes hammer one store for 30 seconds each, and keep what they do in the documentation
	@$(BIN)/python -m tests.acceptance.writers --seconds 30 --processes 16 --page docs/explanation/many-machines.md

bench-handover: $(VENV)/.test ## measure how soon slots go from one to the next, and keep it in the documentation
	@$(BIN)/python -m tests.acceptance.handover --page docs/explanation/many-machines.md

bench-peers: $(VENV)/.test $(PEERS:%=.venv-%/.made) ## measure the newest releases of others doing the same work, in environments of their own
	@$(foreach peer,$(PEERS),.venv-$(peer)/bin/python $(PIP) install --upgrade $(or $(PACKAGE_$(peer)),$(peer)) || \
		echo "$(peer) cannot be installed" >&2;)
	@$(BIN)/python -m benchmarks.peers --json build/bench/peers.json $(BENCH_ARGS)

test-oldest: $(OLDEST)/.test ## run the tests with the oldest allowed versions
	@$(OLDEST)/bin/python -m pytest $(PYTEST_ARGS) -m '$(QUICK)' $(ELSEWHERE:%=--ignore=%)
	@$(OLDEST)/bin/python -m pytest $(PYTEST_ARGS) -m dask $(RULES)

constraints: $(VENV)/.made ## pin the newest allowed version of everything in constraints.txt
	$(BIN)/python $(PIP) install --dry-run --ignore-installed --report $(VENV)/report.json \
		--group dev --editable '.[$(EXTRAS)]'
	$(BIN)/python tools/pin.py < $(VENV)/report.json > constraints.txt

clean: ## remove the environments, the caches and what was built
	rm -rf $(VENV) $(OLDEST) $(PEERS:%=.venv-%) build dist htmlcov .coverage
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment with the pinned pip.
%/.made: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "mainspring needs Python 3.11 or newer; name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "making $* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $*
	@$*/bin/python $(PIP) install --constraint constraints.txt --upgrade pip
	@touch $@

# mainspring itself, editable.
$(VENV)/.package: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing mainspring"
	@$(PIP_INSTALL) --build-constraint constraints.txt --editable .
	@touch $@

# One dependency group.
$(VENV)/.check $(VENV)/.demo $(VENV)/.docs $(VENV)/.test: $(VENV)/.%: $(VENV)/.package
	@echo "installing the tools of the group '$*'"
	@$(PIP_INSTALL) --group $*
	@touch $@

$(OLDEST)/.test: $(OLDEST)/.made pyproject.toml constraints-oldest.txt
	@echo "installing mainspring with its oldest dependencies"
	@$(OLDEST)/bin/python $(PIP) install --constraint constraints-oldest.txt \
		--build-constraint constraints.txt --group test --group demo --group docs --editable .
	@touch $@

# The two commands of the README are `make demo` and `make test`; both set up what they need.

PYTHON_BASE ?= python3
VENV := .venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready

MOVE_SOURCES := move/Move.toml $(shell find move/sources -name '*.move' 2>/dev/null)
MOVE_COMPILER := $(wildcard infra/local/sui/toolchain/*) infra/local/sui/compiler.py infra/local/sui/framework.py \
	$(wildcard infra/local/sui/bytecode/*.py)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: demo
demo: setup move ## Start everything on this machine and play the scene with a real kubectl
	$(PYTHON) -m infra.local.demo

.PHONY: up
up: setup move ## Start everything on this machine and keep it running (Ctrl-C ends it)
	$(VENV)/bin/daas up

.PHONY: test
test: setup move ## Unit, Move VM, integration, end-to-end and kubectl tests
	$(PYTHON) -m infra.local.apiserver build --if-possible
	$(PYTHON) -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

.PHONY: compat
compat: setup move ## The kubectl battery in all combinations, and parking in real time (COMPAT_ARGS="--help")
	$(PYTHON) -m tests.compat $(COMPAT_ARGS)

.PHONY: kube-apiserver
kube-apiserver: setup ## Compile a real Kubernetes API server from Debian's source, once per machine
	$(PYTHON) -m infra.local.apiserver build

.PHONY: move-test
move-test: setup ## Move unit tests (needs sui, or SUI_FRAMEWORK_SOURCES naming a directory with MoveStdlib/ and Sui/)
	@$(PYTHON) -m infra.local.sui.move_tests move

.PHONY: fuzz
fuzz: fuzz-contract fuzz-gateway ## Both of these, other ones each time (FUZZ_ARGS="--seed N")

.PHONY: fuzz-contract
fuzz-contract: setup move ## Arbitrary calls of the contract against a model of its rules (FUZZ_ARGS="--calls N --seed N")
	$(PYTHON) -m tests.fuzz $(FUZZ_ARGS)

.PHONY: fuzz-gateway
fuzz-gateway: setup ## Hostile requests through gateway and listener (FUZZ_ARGS="--requests N --seed N")
	$(PYTHON) -m tests.fuzz_gateway $(FUZZ_ARGS)

.PHONY: chaos
chaos: setup move ## The seven faults that the listener must survive, in full, about 12 minutes (CHAOS_ARGS="--only 1,3")
	$(PYTHON) -m tests.chaos $(CHAOS_ARGS)

.PHONY: lint
lint: setup ## Formatting, ruff, mypy --strict and the import layers
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy .
	$(VENV)/bin/lint-imports

.PHONY: bench
bench: setup move ## Latency, CPU and memory of commands through the whole chain, one by one and many at once
	$(PYTHON) -m tests.bench.latency
	$(PYTHON) -m tests.bench.load

.PHONY: numbers
numbers: setup move ## Count what commands cost on the chain, and write it into docs/contract.md
	$(PYTHON) -m tests.bench.contract_numbers

.PHONY: setup
setup: $(READY) ## A virtual environment with the pinned requirements

$(READY): pyproject.toml requirements.lock
	@$(PYTHON_BASE) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: set PYTHON_BASE to one"; exit 1; }
	$(PYTHON_BASE) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: setup ## Pin the requirements anew, with hashes and without registry addresses
	$(PYTHON) -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip compile -q pyproject.toml --extra local --extra dev --generate-hashes --no-header \
		--no-annotate --universal -o requirements.lock

.PHONY: move
move: build/move/bytecode.json ## Compile the contract, as `sui move build --dump-bytecode-as-base64` would

build/move/bytecode.json: $(MOVE_SOURCES) $(MOVE_COMPILER) | $(READY)
	$(PYTHON) -m infra.local.sui.compiler move $@

.PHONY: package
package: setup ## The gateway for AWS: build/package/deployment.zip and sam.json (docs/deployment.md)
	$(PYTHON) -m infra.aws.package build/package

.PHONY: clean
clean: ## Remove what was built and the local state, not the virtual environment
	rm -rf build .daas

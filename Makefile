PYTHON ?= .venv/bin/python

MOVE_SOURCES := move/Move.toml $(shell find move/sources -name '*.move' 2>/dev/null)
MOVE_COMPILER := $(wildcard infra/local/sui/toolchain/*) infra/local/sui/compiler.py infra/local/sui/framework.py \
	$(wildcard infra/local/sui/bytecode/*.py)

.PHONY: move
move: build/move/bytecode.json ## Compile the contract, as `sui move build --dump-bytecode-as-base64` would

build/move/bytecode.json: $(MOVE_SOURCES) $(MOVE_COMPILER)
	$(PYTHON) -m infra.local.sui.compiler move $@

# Two commands, `make demo` and `make test`; each does the set-up it needs.

PYTHON ?= python3
JOBS ?= 2
MODEL ?=
TASK ?=
ARGS ?=
ROW ?=
DATA_DIR ?=
INDEX_URL ?=
EXTRA_INDEX_URL ?=

VENV := .venv
BIN := $(VENV)/bin
# An environment knows its own folder: a copied or moved checkout makes a new one.
READY := $(VENV)/ready-$(shell printf '%s' '$(CURDIR)' | cksum | cut -d' ' -f1)
TYPES := build/types/sparseloom

# Through the environment, so that the demo's own `pip download` asks the same index.
ifneq ($(strip $(INDEX_URL)),)
export PIP_INDEX_URL := $(INDEX_URL)
endif
ifneq ($(strip $(EXTRA_INDEX_URL)),)
export PIP_EXTRA_INDEX_URL := $(strip $(EXTRA_INDEX_URL) $(PIP_EXTRA_INDEX_URL))
endif

N ?= 2000
SEED ?= 1
BENCHES := bench-step bench-pack bench-fit bench-synth bench-cycles bench-utilisation bench-w4 \
	bench-fuzz bench-simspeed bench-resources bench-explore bench-offload
.PHONY: help demo test regress prove mutate coverage docs screenshots lint setup check clean bench-glue \
	$(BENCHES)
.DEFAULT_GOAL := help

help:
	@echo "make demo     a real encoder, pruned, quantised and proved in RTL; ends with a table"
	@echo "              MODEL=folder-or-hub-name TASK=folder-or-name ARGS='--rows 8 --cols 8'"
	@echo "make test     linter, type checker, every test (ARGS='-k codec' selects)"
	@echo "make regress  random jobs in RTL until coverage is whole: N=2000 SEED=1"
	@echo "make prove    formal proofs of the hardware, covers and planted bugs; ten minutes on two cores:"
	@echo "              ARGS='--only stream_break', ARGS=--list"
	@echo "make mutate   400 small changes of the netlist: does anything notice? an hour or two"
	@echo "make coverage lines and toggles of the RTL, lines of the Python that tests reach; an hour:"
	@echo "              ARGS=rtl, ARGS='python --part tests/hw'"
	@echo "make bench-glue  GLUE scores, one row a process, hours in all: DATA_DIR=folder with GLUE's"
	@echo "              files (else the hub), ROW=name for one row, JOBS=2"
	@echo "make bench-step  time of a penalised training step; make bench-pack  of pruning and packing"
	@echo "make bench-fit   clock and cells on ECP5 devices, an hour and more: ARGS='--device 85k'"
	@echo "make bench-synth cells on ECP5, iCE40, Nexus, Gowin and Xilinx 7, by synthesis alone"
	@echo "make bench-cycles  the cycle model against RTL, and how many points a minute it does"
	@echo "make bench-utilisation  real pruned layers through the RTL: utilisation, speed-up over dense;"
	@echo "              half an hour and more: ARGS='--rows 12 --compression 5 --kind queue'"
	@echo "make bench-simspeed  'sparseloom sim model' timed, and beside a plain C++ loop's cycles a second"
	@echo "make bench-resources  packs builds and fits the resource model to them, half an hour and more;"
	@echo "              ARGS=--refit only fits; make bench-explore  points a minute of an exploration"
	@echo "make bench-offload  64 sentences, every matrix product in RTL, bit for bit; after 'make demo'"
	@echo "make bench-w4    weights of 4 bits: 12 x 24 on the LFE5U-85F, scores of the demo's model"
	@echo "make bench-fuzz  a million bad inputs for the readers of artefacts, streams and the link"
	@echo "make docs     the guides, pages and reference as a site, build/site/index.html"
	@echo "make screenshots  pictures of build/report.html for the README, by headless Chromium"
	@echo "make lint     linter and type checker alone"
	@echo "make setup    the virtual environment alone ($(VENV))"
	@echo "make clean    removes build/ and caches, keeps the environment"
	@echo "Variables:    PYTHON=python3.12  INDEX_URL=...  EXTRA_INDEX_URL=...  JOBS=2"

check:
	@tools/check_host.sh '$(PYTHON)'

$(READY): pyproject.toml constraints.txt tools/setup.sh | check
	@tools/setup.sh '$(PYTHON)' '$(VENV)'
	@touch $@

$(READY)-hub: $(READY)
	@echo "set-up: the package that fetches tasks by name"
	@$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --editable '.[hub]'
	@touch $@

setup: $(READY)

# Tasks with these names come from the hub.
HUB_TASKS := stsb sst2 cola mrpc qqp rte wnli qnli mnli
demo: check $(READY) $(if $(filter $(HUB_TASKS),$(TASK)),$(READY)-hub)
	@$(BIN)/sparseloom demo $(if $(MODEL),--model '$(MODEL)') $(if $(TASK),--task '$(TASK)') $(ARGS)

$(READY)-bench: $(READY)
	@echo "set-up: the package that reads DistilBERT's weights"
	@$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	@touch $@

bench-glue: check $(READY)-bench $(if $(DATA_DIR),,$(READY)-hub)
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.glue $(if $(ROW),run '$(ROW)',all --jobs $(JOBS)) \
		$(if $(DATA_DIR),--data-dir '$(DATA_DIR)') $(ARGS)

$(BENCHES): bench-%: check $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.$* $(ARGS)

regress: check $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/sparseloom sim regress -n $(N) --seed $(SEED) \
		--json bench/results/regress.json $(ARGS)

mutate: check $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.rtl_mutants --jobs $(JOBS) --seed $(SEED) $(ARGS)

lint: check $(READY)
	@mkdir -p $(TYPES)
	@for room in model hw sim; do ln -sfn ../../../$$room $(TYPES)/$$room; done
	$(BIN)/ruff check
	$(BIN)/python -m basedpyright --pythonpath $(BIN)/python

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

$(READY)-docs: $(READY)
	@echo "set-up: the packages that build the documentation"
	@$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	@touch $@

docs: check $(READY)-docs
	@mkdir -p $(TYPES)
	@for room in model hw sim; do ln -sfn ../../../$$room $(TYPES)/$$room; done
	@rm -rf docs/reference build/site
	$(BIN)/python -m sphinx -q -W --keep-going -c tools/site docs build/site
	@echo "build/site/index.html"

screenshots: check $(READY)
	@$(BIN)/python -m bench.screenshots $(ARGS)

coverage: check $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m bench.coverage $(ARGS)

prove: check $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.formal --jobs $(JOBS) $(ARGS)

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

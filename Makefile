# `make help` lists what there is. Everything runs in .venv, which `make demo` and `make test` set up by themselves.
SHELL := bash
PYTHON ?= $(shell hack/python.sh)
VENV := .venv
PY := $(VENV)/bin/python
DONE := $(VENV)/.ready
MODEL ?= tiny.en
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt generate lock control-plane cluster-packages images cluster-up scale-downs faults-long bench model clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(DONE): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON) (about 1 GB on disk, once)"
	$(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(DONE) ## the virtual environment with everything (the other targets do it by themselves)

model: $(DONE) ## fetch the Whisper model MODEL (default: tiny.en, 70 MB) into the user's data folder
	@$(PY) hack/fetch_model.py $(MODEL)

demo: $(DONE) model ## 100 spoken clips: 0 -> 10 -> 0 workers on this machine; AUDIO=folder: your own files
	@$(PY) -m demo $(if $(AUDIO),--audio "$(AUDIO)")

test: $(DONE) model ## check, and all suites that this machine can run; ends with a table of what ran and what did not
	@$(PY) hack/test.py

check: $(DONE) ## linters, types, layers, generated files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/processingpool crd --check crds/processingpools.yaml
	$(PY) hack/sync_chart.py --check
	UV=$(VENV)/bin/uv hack/lock.sh --check

fmt: $(DONE) ## format, and mend what the linter can mend
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

generate: $(DONE) ## write crds/, the chart's copy of it, and manifests/ anew
	$(VENV)/bin/processingpool crd > crds/processingpools.yaml
	$(PY) hack/sync_chart.py

lock: $(DONE) ## write requirements/*.txt anew from pyproject.toml
	UV=$(VENV)/bin/uv hack/lock.sh

control-plane: ## build etcd, Kubernetes, KWOK and Helm from pinned Go modules, once per machine (about 8 minutes; needs Go)
	@hack/control-plane/build.sh

cluster-packages: ## install the Debian packages that tests/cluster and some others need (root)
	@hack/apt.sh

images: $(DONE) model ## build the operator and worker images from the Dockerfile, as archives (needs buildah, root)
	@hack/images/build.sh

cluster-up: $(DONE) model ## start a control plane and a node on this machine, print KUBECONFIG, run until Ctrl-C (root)
	@$(PY) -m tests.node

scale-downs: $(DONE) ## the long form: at least 200 pods removed, 100 of them while others are busy; hits must be 0
	SCALE_DOWNS=200 $(PY) -m pytest tests/apiserver/test_operator_scale_down.py tests/cluster/test_scale_down.py -s --timeout=3600

faults-long: $(DONE) ## the long form of the chaos test: 1,000 faults on real workers; nothing lost, one result each
	FAULTS=1000 $(PY) -m pytest tests/faults/test_chaos.py -s --timeout=7200

bench: $(DONE) ## NAME=reaction|overhead|idle|decision|ledger|policy (TRACES=folder, ARGS="--help"): print a table, write build/bench/NAME.json
	@TRACES="$(TRACES)" $(PY) -m benchmarks $(NAME) $(ARGS)

clean: ## remove what was built in this folder
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# Everything that a newcomer needs: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PORT ?= 8080
AWS_PORT ?= 4566
PAIR_PORT ?= 8000
REGIONS ?= all
MINUTES ?= 30
LOCAL := .local
BIN := .venv/bin

# The first interpreter that is one of Python 3.11 to 3.13; PYTHON= names another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)

.PHONY: help run test test-slow lint audit sbom format package ping pair pair-deploy pair-status pair-destroy \
	soak bench lock clean python-found

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(BIN)/.installed $(LOCAL)/aws-venv/.installed ## the whole pipeline on this machine: PORT=8080 REGIONS=all
	@exec $(BIN)/python -m infra local --port $(PORT) --aws-port $(AWS_PORT) --regions $(REGIONS)

test: $(BIN)/.installed $(LOCAL)/aws-venv/.installed ## all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(BIN)/.installed $(LOCAL)/aws-venv/.installed ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(BIN)/.installed ## format, lint and types, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy cloudping frontend infra bench tests
	for app in probes aggregator watch; do $(BIN)/mypy $$app; done  # each has a module `app`

AUDIT := $(LOCAL)/audit-venv/bin

# What is skipped stands with its reason where it is, for ruff, which has bandit's rules as S: to
# listen on all addresses, /dev/shm, urlopen of our own URLs, Markup of our own document.
audit: $(LOCAL)/audit-venv/.installed ## insecure code, workflows, known holes (asks pypi.org)
	$(AUDIT)/bandit -q -r -ll -s B104,B108,B310,B704 --exclude '*/vendor/*' \
		aggregator cloudping frontend infra probes watch
	$(AUDIT)/zizmor --offline --quiet .github/workflows
	for locked in $(DEPLOYED); do $(AUDIT)/pip-audit --disable-pip --no-deps -r $$locked; done

sbom: $(LOCAL)/audit-venv/.installed ## bills of materials (CycloneDX) of what is deployed, into dist/
	mkdir -p dist
	for locked in $(DEPLOYED); do $(AUDIT)/cyclonedx-py requirements $$locked --output-reproducible \
		--of JSON -o dist/sbom-$$(dirname $$locked | tr / -).cdx.json; done

DEPLOYED := aggregator/requirements.txt frontend/requirements.txt probes/monitor/requirements.txt

format: $(BIN)/.installed ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

package: $(BIN)/.installed ## both Lambda zips into dist/, checked
	$(BIN)/python -m infra package

ping: $(BIN)/.installed ## real connects from here to every region, as a table
	@$(BIN)/python -m infra ping

pair: $(BIN)/.installed ## the two-server pair on this machine: PAIR_PORT=8000
	@exec $(BIN)/python -m infra local-pair --port $(PAIR_PORT)

pair-deploy: $(BIN)/.installed ## the pair in AWS: PAIR_REGION= IMAGE= VIEWERS=203.0.113.7/32
	@$(BIN)/python -m infra pair deploy --region "$(PAIR_REGION)" --image "$(IMAGE)" --viewers "$(VIEWERS)" $(PAIR_OPTIONS)

pair-status: $(BIN)/.installed ## its URLs, health and newest figure: PAIR_REGION=
	@$(BIN)/python -m infra pair status --region "$(PAIR_REGION)"

pair-destroy: $(BIN)/.installed ## delete it: PAIR_REGION=
	@$(BIN)/python -m infra pair destroy --region "$(PAIR_REGION)"

soak: $(BIN)/.installed $(LOCAL)/aws-venv/.installed ## the pipeline under random faults, then every figure checked: MINUTES=30
	$(BIN)/python -m tests.reliability.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: $(BIN)/.installed ## the benchmarks: measuring, aggregation, front end
	$(BIN)/python -m bench.measuring
	$(BIN)/python -m bench.aggregation
	$(BIN)/python -m bench.frontend

lock: $(BIN)/.installed ## renew the locked requirements from pyproject.toml (needs uv)
	uv pip compile -q --group dev $(LOCK_OPTIONS) -o requirements.txt
	uv pip compile -q --group frontend $(LOCK_OPTIONS) -o frontend/requirements.txt
	uv pip compile -q --group monitor $(LOCK_OPTIONS) -o probes/monitor/requirements.txt
	uv pip compile -q --group audit $(LOCK_OPTIONS) -o .ci/requirements.txt
	uv pip compile -q --group templates $(LOCK_OPTIONS) -o .ci/templates.txt
	uv pip compile -q infra/local/requirements.in $(LOCK_OPTIONS) -o infra/local/requirements.txt

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

clean: ## remove environments, local data and everything built
	rm -rf .venv $(LOCAL) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

python-found:
	@test -n "$(PYTHON)" || { echo "CloudPing needs Python 3.11, 3.12 or 3.13 on PATH (or PYTHON=/path/to/python)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
		{ echo "PYTHON=$(PYTHON) is no Python 3.11, 3.12 or 3.13; name one, or leave it out" >&2; exit 1; }

$(BIN)/.installed: requirements.txt | python-found
	$(call environment,.venv,requirements.txt,Python packages)
	@touch $@

# MiniStack pins botocore exactly, so it lives in an environment of its own.
$(LOCAL)/aws-venv/.installed: infra/local/requirements.txt | python-found
	$(call environment,$(LOCAL)/aws-venv,infra/local/requirements.txt,the embedded local AWS)
	@touch $@

$(LOCAL)/audit-venv/.installed: .ci/requirements.txt | python-found
	$(call environment,$(LOCAL)/audit-venv,.ci/requirements.txt,the tools of make audit)
	@touch $@

# $(1) folder, $(2) requirements, $(3) what it is. What an installation that was broken off has left
# has no mark and goes before the next one, and at once when this one fails.
define environment
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Installing $(3) into $(1) (once, a minute or two) ..."
	@test -e $@ || rm -rf $(1)
	@{ $(PYTHON) -m venv $(1) && $(1)/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r $(2); } || \
		{ test -e $@ || rm -rf $(1); \
		echo "$(3) could not be installed, for the reason above (a network, 700 MB of disk and a folder" \
		"that can be written are needed); nothing half done is kept: run make again" >&2; exit 1; }
endef

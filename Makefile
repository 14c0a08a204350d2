# Mailwake. `make` alone prints the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Debian packages that are named like their commands
TOOLS := chromium curl faketime jq kcat prometheus

.PHONY: help run demo test lint format unit faults fuzz mutation k8s-check bench evidence soak quality docs pictures lock wheel sbom release-check tools clean

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: .venv/ready ## start the whole system here (Kafka, ClickHouse, all services); Ctrl-C stops it
	@exec $(BIN)/mailwake up

demo: .venv/ready ## on the running system: send a mail, open it, click it, show what came of it
	@$(BIN)/mailwake demo

test: .venv/ready tools lint unit k8s-check ## run all checks and tests
	$(BIN)/pytest -n 2 --dist loadfile -m "not alone" tests/integration tests/faults
	$(BIN)/pytest -m alone tests/integration tests/faults
	$(BIN)/pytest --secured tests/e2e

unit: .venv/ready ## run the tests that touch no network
	$(BIN)/pytest -n auto tests/unit tests/contract

k8s-check: .venv/ready ## render deploy/k8s with kustomize, validate every object, keep our policy
	$(BIN)/pytest tests/deploy

lint: .venv/ready ## check form and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready ## put the code into form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

faults: .venv/ready tools ## inject every fault of docs/faults.md at full length; writes bench/results/faults.json
	$(BIN)/pytest -m fault --long --timeout 1800 --faults bench/results/faults.json tests

fuzz: .venv/ready ## fuzz what strangers' bytes reach, SECONDS=600 each; writes bench/results/fuzz.json
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),600)

mutation: .venv/ready ## put small faults into what matters most: do unit tests notice? writes bench/results/mutation.json
	$(BIN)/python -W ignore -m tests.mutation

bench: .venv/ready ## measure each stage beside its bare counterpart; writes bench/results/latest.json
	$(BIN)/python -m bench

evidence: .venv/ready ## make docs/evidence.md and docs/charts anew from bench/results
	$(BIN)/python -m bench charts
	$(BIN)/python -m bench evidence

soak: .venv/ready ## run the system at half load, SECONDS=3600: memory and files flat? writes bench/results/soak.json
	$(BIN)/python -m bench.soak $(or $(SECONDS),3600)

quality: .venv/ready ## measure on simulated mail how often verdicts and alerts are right
	$(BIN)/python -m bench.quality

wheel: .venv/ready ## build the wheel and the sdist into dist/
	$(BIN)/python -m build --no-isolation

docs: .venv/ready ## build the documentation as a site into dist/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: .venv/ready tools ## make docs/pictures of the running system, anew
	$(BIN)/python -m tests.e2e.pictures

sbom: .venv/ready ## list what it runs on, with versions and licences (CycloneDX), in dist/sbom.json
	$(BIN)/python -m release.sbom

release-check: .venv/ready ## build wheel and sdist, install the wheel into an empty environment, try it there
	$(BIN)/python -m release.check

lock: .venv/ready ## resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --upgrade \
	  --generate-hashes --no-header --python-version 3.11 -o requirements.lock
	@# What each image installs: a part of the above (deploy/Dockerfile).
	@for image in edge enricher notifier webhooks relay api setup; do \
	  extras="--extra $$image --extra tracing"; \
	  [ $$image = setup ] && extras="--extra kafka --extra clickhouse"; \
	  $(BIN)/uv pip compile pyproject.toml $$extras -c requirements.lock -q --generate-hashes \
	    --no-header --no-annotate --python-version 3.11 -o deploy/locks/$$image.lock >/dev/null; \
	done

tools: ## install what tests drive (as root; otherwise it is only named)
	@missing=(); for each in $(TOOLS); do \
	  command -v "$$each" >/dev/null || missing+=("$$each"); done; \
	if [ $${#missing[@]} = 0 ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing $${missing[*]} (tests drive them)"; \
	  (apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$${missing[@]}") >/dev/null; \
	else echo "Missing: $${missing[*]}; tests that drive them are skipped. Install them: sudo apt-get install $${missing[*]}"; fi

clean: ## remove what was built here (not the data in ~/.mailwake)
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Mailwake needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up .venv (once, about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv"; rm -rf .venv; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

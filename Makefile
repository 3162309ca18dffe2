# Targets: make help. Each makes its own environment in .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test ui replay monitor check fix docs bench bench-ingest bench-search bench-drift bench-serve bench-pages bench-scale bench-backfill test-slow soak fuzz torture lock screenshot clean

help:
	@echo "make demo   a year of real flights, from raw files to a champion and drift reports"
	@echo "make ui     Dagster at http://127.0.0.1:3000, sensors running"
	@echo "make monitor  drift over the batches in Evidently's pages, at http://127.0.0.1:8001"
	@echo "make replay the year again: the loop against a frozen model and against training every month"
	@echo "make test   the test suite"
	@echo "make test-slow  the tests that take minutes each: the daemon under kills, a year again, PostgreSQL and S3, compose"
	@echo "make check  formatting, lint, types, import contracts, docs"
	@echo "make docs   the documentation as a site: site/index.html"
	@echo "make bench  the flights job against a plain script of the same work"
	@echo "make bench-ingest  ten million rows against bare DuckDB statements, and a hundred batches"
	@echo "make bench-search  the search against a bare loop of the same fits, two cores against one, memory of a training"
	@echo "make bench-drift   a drift report and predictions of ten million rows"
	@echo "make bench-serve   the scoring server beside MLflow's and BentoML"
	@echo "make bench-pages   the home page with a hundred pipelines and ten thousand batches"
	@echo "make bench-scale   a hundred million rows, ten thousand batches in one lake, a hundred pipelines: hours"
	@echo "make bench-backfill  a thousand batches by 1, 2 and 4 workers on PostgreSQL and S3"
	@echo "make soak   ten minutes of requests with new champions, outcomes and killed workers: what was lost"
	@echo "make fuzz   a hundred thousand malformed requests"
	@echo "make torture  kills, full disks, damaged and hostile files, parallel writers, fuzzed requests: what holds"

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r constraints.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/ml-assets home > /dev/null
	@touch $@

install: $(READY)

demo: $(READY)
	@$(BIN)/ml-assets demo

replay: $(READY)
	@$(BIN)/ml-assets replay flights --from 2013-04

ui: $(READY)
	@$(BIN)/ml-assets ui

monitor: $(READY)
	@$(BIN)/ml-assets monitor

test: $(READY)  # three processes for two cores: tests of servers and of the daemon mostly wait
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.reference --check
	$(DOCS)

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m docs.reference

docs: $(READY)
	$(DOCS)

bench: $(READY)
	$(BIN)/python -m benchmarks.flights

bench-ingest: $(READY)
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.scan

bench-search: $(READY)
	$(BIN)/python -m benchmarks.search

bench-drift: $(READY)
	$(BIN)/python -m benchmarks.drift
	$(BIN)/python -m benchmarks.scoring

bench-serve: $(READY)
	$(BIN)/python -m benchmarks.serve

bench-pages: $(READY)
	$(BIN)/python -m benchmarks.pages

bench-backfill: $(READY)
	$(BIN)/python -m benchmarks.backfill

bench-scale: $(READY)  # a goal that is not met must not keep the next table from being measured
	-$(BIN)/python -m benchmarks.scale pipelines --save benchmarks/scale/results.json
	-$(BIN)/python -m benchmarks.scale batches --save benchmarks/scale/results.json
	-$(BIN)/python -m benchmarks.scale rows --save benchmarks/scale/results.json

soak: $(READY)
	$(BIN)/python -m benchmarks.soak

fuzz: $(READY)
	$(BIN)/python -m benchmarks.fuzz

torture: $(READY)
	$(BIN)/python -m benchmarks.torture

screenshot: $(READY)
	$(BIN)/python -m docs.screenshot

lock: $(READY)
	$(BIN)/pip-compile --quiet --upgrade --generate-hashes --all-extras --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o constraints.txt pyproject.toml
	$(BIN)/python -m ml_assets_tests.graph.release.packaging.test_supply_chain

clean:
	rm -rf $(VENV) .env site data/dagster data/lake data/bundles data/reports data/evidently data/replay data/logs data/locks data/tmp

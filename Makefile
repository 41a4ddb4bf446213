# What a person types; `make` alone lists it. Each target is one line, what it does is in scripts/.
export VENV ?= .venv
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down check fix test lint unit molecule bench smoke lock docs clean

help:      ## This list
	@sed -n 's/^\([a-z-]*\): *## /  make \1|/p' Makefile | column -t -s '|'

setup:     ## The virtual environment with everything that a run needs: then . .venv/bin/activate
	@scripts/setup runtime

demo:      ## A server in the lab, without an AWS account
	@scripts/demo

demo-down: ## Take the demo and the lab away
	@scripts/demo-down

check:     ## For every day, a minute: linters, on what changed where they are slow, and the quick unit tests
	@scripts/test --check

fix:       ## Formats the Python and writes the generated tables
	@scripts/fix

test:      ## The gate, half an hour on two cores; ALL=1: everything, an hour; SLICE=N: the gate and one slice of the rest
	@scripts/test $(if $(ALL),--all,$(if $(SLICE),--slice $(SLICE)))

lint:      ## Style and types of everything, some minutes
	@scripts/test --only lint

unit:      ## All unit tests, some minutes; those with a word in their name: make unit K=price
	@scripts/setup dev && $(VENV)/bin/python -m pytest tests/unit -nauto --dist=worksteal -k "$(K)" --cov=plugins --cov-report=term

molecule:  ## One role in containers: make molecule SCENARIO=base
	@scripts/test --only molecule:$(SCENARIO)

bench:     ## What has a goal: the data services beside a bare script, and a re-apply of the running demo
	@scripts/setup runtime && $(VENV)/bin/python scripts/bench.py

smoke:     ## A server's whole life in your own AWS account: says what it costs, and asks
	@scripts/setup runtime && $(VENV)/bin/python scripts/smoke.py

docs:      ## The tables of settings in the READMEs, from the roles' argument specs
	@scripts/setup dev && $(VENV)/bin/python scripts/check_roles.py --write

lock:      ## Pin every dependency anew (UPGRADE=1: at its newest release)
	@scripts/lock

clean:     ## Caches, reports and virtual environments; servers and their keys stay
	@rm -rf .venv .venv-3.* .cache .ansible .mypy_cache .pytest_cache .ruff_cache .coverage reports

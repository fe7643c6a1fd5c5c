# Ostro's commands. `make help` lists them. Everything is installed on the first use; see .ci/bootstrap.
.DEFAULT_GOAL := help
.PHONY: help build dev up demo demo-ceph demo-hosts test lint compat bench bench-storage bench-core bench-scale sim soak fuzz proofs api lock clean

STATE   ?= .state
LISTEN  ?= 127.0.0.1:8774
VENV    := .venv/bin
SUITE   ?= identity
SECONDS ?= 10
SEED    ?= 1
HOSTS   ?= 5
STEPS   ?= 200
MINUTES ?= 10

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

build:  ## install what is missing and build the Rust core
	@.ci/bootstrap

dev:  ## the same, with what the tests need
	@.ci/bootstrap dev

up: build  ## run a cloud in the foreground (STATE=dir LISTEN=addr:port)
	@$(VENV)/ostro up --state $(STATE) --listen $(LISTEN)

demo: build  ## boot real servers on a tenant network with the openstack command, and clean up
	@$(VENV)/ostro demo

demo-ceph:  ## images, disks, volumes and objects in a real Ceph that it starts, and bad days for it
	@.ci/bootstrap hosts
	@$(VENV)/ostro demo-ceph

demo-hosts:  ## three hosts on this machine, a control plane in parts, and bad days for both
	@.ci/bootstrap hosts
	@$(VENV)/ostro demo-hosts

test: dev  ## lint and every layer of tests
	@$(VENV)/python .ci/check

sim: dev  ## a whole cloud in virtual time, with misfortunes from a seed (SEED= HOSTS= STEPS=, replays exactly; SIM=--help says more)
	@$(VENV)/python -m ostro.testing.sim --seed $(SEED) --hosts $(HOSTS) --steps $(STEPS) $(SIM)

soak: dev  ## the same, seed after seed until one fails (MINUTES= SEED= HOSTS= STEPS=)
	@$(VENV)/python -m ostro.testing.sim --seed $(SEED) --hosts $(HOSTS) --steps $(STEPS) --minutes $(MINUTES) $(SIM)

lint: dev  ## formatting, style, types, layers
	@$(VENV)/python .ci/check lint

compat: dev  ## run OpenStack's own tests against a fresh cloud (SUITE=identity)
	@$(VENV)/python tests/compat/tempest.py $(SUITE)

bench: dev  ## measure the API, one JSON object a line (BENCH=--libvirt also boots real servers)
	@$(VENV)/python -m bench.api $(BENCH)

bench-storage: dev  ## measure objects and volumes on a real Ceph beside its own gateway (BENCH=--help says more)
	@$(VENV)/python -m bench.storage $(BENCH)

bench-core: dev  ## measure the Rust core, one JSON object a line (BENCH=words selects figures)
	@$(VENV)/python -m bench.core $(BENCH)

bench-scale: dev  ## measure at scale: rates on both engines, 10,000 hosts, 1,000 agents, 500 ports (root; BENCH=--help says more)
	@$(VENV)/python -m bench.scale $(BENCH)

fuzz: dev  ## feed random bytes to every parser of foreign bytes (SECONDS=seconds for each target)
	@.ci/fuzz $(SECONDS)

proofs: dev  ## note which test sees which operation succeed, for api/CONFORMANCE.md (five minutes)
	@$(VENV)/python -m pytest -q -n 0 --record-proofs tests/api
	@$(VENV)/python -m ostro.http.openapi api

api: dev  ## write the contract in api/ from the routes
	@$(VENV)/python -m ostro.http.openapi api

lock: dev  ## write .ci/requirements.txt from pyproject.toml
	@$(VENV)/python .ci/lock

clean:  ## remove what was built; state directories stay
	@rm -rf .venv target python/ostro/*.so .mypy_cache .ruff_cache

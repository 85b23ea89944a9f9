# Everything that demo and tests make is in SCRATCH; `make clean` stops and removes it. Only the distribution's
# packages are installed on the machine itself, and they are named before (tests/packages.sh).
SCRATCH ?= $(CURDIR)/.scratch
PYTHON ?= python3

VENV := $(SCRATCH)/venv
UNDERCLOUD := $(SCRATCH)/undercloud
CONSTRAINTS := elements/overcloud-agent/constraints.txt

export SCRATCH
# Demo and tests each have an undercloud of their own; its packages are installed once for both.
export UNDERCLOUD_VENV ?= $(SCRATCH)/undercloud-venv
export PYTHONPATH := $(CURDIR)/tests
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help packages install demo test lint unit hooks integration image-test crash peer soak constraints benchmark benchmark-swap benchmark-packages describe undercloud undercloud-down clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: packages install ## Watch a real Heat drive container upgrades through the agent (installs what it needs).
	@$(VENV)/bin/python -m demo --scratch $(SCRATCH)

test: packages install ## Run every test: linters, unit, hooks, integration (installs what it needs).
	@$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder tests

lint: install ## Run mypy, ruff and shellcheck only.
	@$(VENV)/bin/python -m pytest tests/lint

unit: install ## Run the unit tests only; they start nothing.
	@$(VENV)/bin/python -m pytest tests/unit

hooks: packages install ## Run the tests of the hook executables only.
	@$(VENV)/bin/python -m pytest tests/hooks

integration: packages install ## Run the tests with real Podman and real Heat only.
	@$(VENV)/bin/python -m pytest tests/integration

image-test: packages install ## Build an image from the elements, boot it, and run the tests of it.
	@$(VENV)/bin/python -m pytest tests/elements

crash: packages install ## Kill the agent at every fail point, and N=200 times at random moments; print a table.
	@$(VENV)/bin/python -m crash --random $${N:-200} $(ARGS)

peer: packages install ## Run the test suite of heat-agents, with the originals and with ours in their places.
	@$(VENV)/bin/python -m pytest tests/peer

benchmark: packages install ## Measure the agent and the reference stack side by side (ARGS='--help' tells what is there).
	@$(VENV)/bin/python -m benchmarks.deployments $(ARGS)

benchmark-swap: packages install ## Measure swaps of containers side by side: the agent, other ways, the floor (ARGS='--help').
	@$(VENV)/bin/python -m benchmarks.container_swap $(ARGS)

benchmark-packages: packages install ## Measure identifiers side by side with what people use for them (ARGS='--help').
	@$(VENV)/bin/python -m benchmarks.packages $(ARGS)

soak: packages install ## Run 1,000 deployments of a real Heat through a network that breaks 30 % of the requests.
	@OVERCLOUD_AGENT_SOAK=$${OVERCLOUD_AGENT_SOAK:-1000} $(VENV)/bin/python -m pytest -s -o timeout=3600 \
	    tests/integration/test_soak.py

describe: install ## Write the hooks' descriptions and the plans' (JSON Schemas) from the code.
	@$(VENV)/bin/python -c 'import json; from overcloud_agent.containers import preview; \
	    print(json.dumps(preview.schema(), indent=2))' > docs/plan.schema.json
	@$(VENV)/bin/python -c 'import json; from overcloud_agent.packages import plan; \
	    print(json.dumps(plan.schema(), indent=2))' > docs/package-plan.schema.json
	@$(VENV)/bin/python -c 'import json; from overcloud_agent.containers import hook; \
	    print(json.dumps(hook.describe(), indent=2))' > hooks/container-upgrade.json
	@$(VENV)/bin/python -c 'import json; from overcloud_agent.containers import docker_cmd; \
	    print(json.dumps(docker_cmd.describe(), indent=2))' > hooks/docker-cmd.json
	@$(VENV)/bin/python -c 'import json; from overcloud_agent.packages import hook; \
	    print(json.dumps(hook.describe(), indent=2))' > hooks/package-update.json
	@$(VENV)/bin/python -c 'import json; from overcloud_agent import scripts; \
	    print(json.dumps(scripts.describe(), indent=2))' > hooks/script.json

constraints: install ## Write the pins of what images install from what the tests run with.
	@{ echo "# What the agent's own tests run with; written by \`make constraints\`."; \
	    $(VENV)/bin/python -m imagebox.pins; } > $(CONSTRAINTS).new && mv $(CONSTRAINTS).new $(CONSTRAINTS)

undercloud: ## Start a real Keystone and Heat on this machine, and print how to use them.
	@$(PYTHON) -m undercloud up --dir $(UNDERCLOUD)

undercloud-down: ## Stop them again; databases stay.
	@$(PYTHON) -m undercloud down --dir $(UNDERCLOUD)

packages: ## Install the distribution packages that demo and tests need, naming them first.
	@bash tests/packages.sh

install: $(VENV)/installed ## Install the agent and the test tools into a venv in SCRATCH.

$(VENV)/installed: setup.py $(wildcard hooks/*)
	@mkdir -p $(SCRATCH) && chmod 700 $(SCRATCH)
	@echo "Installing the agent and the test tools into $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/pip install --quiet --editable '.[test]'
	@$(VENV)/bin/python -m compileall -q agent
	@touch $@

clean: ## Stop and remove everything that demo and tests made.
	@for scratch in $(SCRATCH) $(wildcard $(SCRATCH)/gw*); do \
	    for dir in podman swap demo/podman; do \
	        [ ! -d $$scratch/$$dir ] || $(PYTHON) -m podmanbox down --wipe --dir $$scratch/$$dir; done; \
	    for dir in test-undercloud full-undercloud expiry-undercloud image-undercloud demo/undercloud benchmark-undercloud; do \
	        [ ! -d $$scratch/$$dir ] || $(PYTHON) -m undercloud down --wipe --dir $$scratch/$$dir; done; \
	    for dir in node test-node units-node image-node drive-node plug-node; do \
	        [ ! -d $$scratch/$$dir ] || $(PYTHON) -m nodebox down --dir $$scratch/$$dir; done; done
	@[ ! -d $(UNDERCLOUD) ] || $(PYTHON) -m undercloud down --wipe --dir $(UNDERCLOUD)
	@rm -rf $(SCRATCH) build dist agent/*.egg-info .mypy_cache .ruff_cache .pytest_cache

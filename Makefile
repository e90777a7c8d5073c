# Everything a person runs. `make setup` is part of each target: a second run costs a tenth of a second.
PYTHON ?= python3
RUN := .venv/bin/python
# One test process more than there are cores: tests wait for processes as much as they compute. Models take a core each, and what is timed has the
# machine to itself.
PARALLEL := -n $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 5))) --dist load
MODELS := -n auto --maxprocesses 4 --dist loadfile

.PHONY: setup demo test check docs clean

setup:      ## make .venv with the stack that fits this machine
	@$(PYTHON) bootstrap.py

demo: setup ## specialise SmolLM2-135M for the travel domain, end to end
	@.venv/bin/modelsmith iterate travel --max-iterations 1 --watch || [ $$? -eq 1 ]  # 1: done, below its target; an outcome, not a failure

test: setup ## every test: the fast ones first, then those with a real model, those that need node, those in a browser, and those that are timed
	@$(RUN) -m pytest $(PARALLEL) -m "not model and not node and not browser"
	@$(RUN) -m pytest $(MODELS) -m "(model or node or browser) and not alone"
	@$(RUN) -m pytest -m alone

check: setup ## the fast part: style, types, fast tests (docs are compared with the code there)
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy --strict engine tools server
	@$(RUN) -m pytest $(PARALLEL) -m "not model and not node and not browser and not processes"

docs: setup ## write docs/ again from the code
	@$(RUN) -m server.docs

clean:      ## remove caches; keeps .venv and .modelsmith (state)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# Two commands do everything on a fresh machine: make train, make test. What takes longer than that
# is make test-slow.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-slow lint ui

train: .venv/train.done
	$(BIN)/python jobs/train_amazon.py $(ARGS)

test: lint
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2

test-slow: .venv/test.done
	$(BIN)/python -m pytest -m slow

lint: .venv/test.done
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy raclib
	$(BIN)/python -c "from importlinter.cli import lint_imports_command as lint; lint()"

ui: .venv/train.done
	$(BIN)/python -m mlflow ui --backend-store-uri sqlite:///mlflow.db

# torch first: on its own line pip takes the build that the constraints name, not the newest.
.venv/train.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/test.done: .venv/train.done
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,dev,text]"
	touch $@

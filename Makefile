# Each target sets up all that it needs: a .venv, uv in it, and the versions of uv.lock.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/
export UV_PROJECT_ENVIRONMENT := $(VENV)

PACKAGES := daemon migrations jobs alerts checks retention execution postgres store domain

.PHONY: help demo test check test-matrix test-state coverage systemd-test prove bench lint format reference wheel clean
.DEFAULT_GOAL := test

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit("sereno needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(RUN)python || $(PYTHON) -m venv --without-pip $(VENV)
	test -x $(RUN)uv || $(PYTHON) -m pip --python $(RUN)python install --quiet uv 2>/dev/null || $(PYTHON) .ci/bootstrap.py $(VENV)
	$(RUN)uv sync --quiet --frozen --all-extras --compile-bytecode
	$(RUN)python -m compileall -q $(PACKAGES)
	@touch $(READY)

demo: $(READY)  ## a night and a week in a sample database with planted faults
	@$(RUN)sereno demo $(DEMO)

test: $(READY)  ## every test, on a real server; TESTS="tests/unit" selects
	$(RUN)pytest --numprocesses 3 --dist loadgroup --reruns 1 $(TESTS)

check: lint  ## lint, types, unit tests, tests of code and documentation
	$(RUN)pytest --quiet tests/conventions tests/unit

test-matrix: $(READY)  ## every test, on every installed server from 14 on
	SERENO_TEST_MATRIX=1 $(RUN)pytest --numprocesses 2 --dist loadgroup $(TESTS)

test-state: $(READY)  ## the command line and the service, with their state in a database
	SERENO_TEST_STATE=database $(RUN)pytest --numprocesses 3 --dist loadgroup --reruns 1 tests/e2e tests/postgres tests/faults

coverage: $(READY)  ## branch coverage, subprocesses included
	$(RUN)pytest --numprocesses 3 --dist loadgroup --cov --cov-report=term:skip-covered $(TESTS)

systemd-test: $(READY)  ## the service in a booted Debian root
	$(RUN)pytest -s -v --override-ini="python_files=boot.py minor_upgrade.py first_minutes.py" tests/systemd

prove: $(READY)  ## the long proofs: kills, crashes, every time zone
	$(RUN)python tests/prove/calendar_proof.py
	$(RUN)python tests/prove/systemd_calendar.py
	$(RUN)python tests/prove/two_daemons.py
	$(RUN)python tests/prove/archive_crashes.py
	$(RUN)python tests/prove/partition_crashes.py
	$(RUN)python tests/prove/symlink_race.py
	$(RUN)python tests/prove/alert_kills.py
	$(RUN)python tests/prove/alert_sequences.py
	$(RUN)python tests/prove/mail_pictures.py
	$(RUN)python -m tests.prove.mail_html
	$(RUN)python -m tests.prove.interface_fuzz
	$(RUN)python -m tests.prove.prometheus_rule
	$(RUN)python -m tests.prove.service_faults
	$(RUN)python -m tests.prove.planted_illnesses
	$(RUN)python -m tests.prove.migration_kills
	$(RUN)python -m tests.prove.migration_under_load
	$(RUN)python -m tests.prove.migration_page
	$(RUN)python -m tests.prove.fleet

bench: $(READY)  ## ratios to the peers, measured in turns
	$(RUN)python -m benchmarks.vacuum $(BENCH)
	$(RUN)python -m benchmarks.foreground $(BENCH)
	$(RUN)python -m benchmarks.planning $(BENCH)
	$(RUN)python -m benchmarks.archive $(BENCH)
	$(RUN)python -m benchmarks.archive_foreground $(BENCH)
	$(RUN)python -m benchmarks.checks $(BENCH)
	$(RUN)python -m benchmarks.alerting
	$(RUN)python -m benchmarks.idle
	$(RUN)python -m benchmarks.fleet
	$(RUN)python -m benchmarks.workers
	$(RUN)python -m benchmarks.web $(BENCH)
	$(RUN)python -m benchmarks.startup

lint: $(READY)  ## format, lint, types, import contracts
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports

format: $(READY)  ## format the code
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

wheel: $(READY)  ## dist/sereno-….whl, for: pip install dist/sereno-*.whl
	$(RUN)uv build --quiet --wheel --out-dir dist
	@ls dist/*.whl

reference: $(READY)  ## the generated files: config.toml, module map, alert kinds
	$(RUN)sereno config reference > config.toml
	$(RUN)python -m docs.generate

clean:  ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

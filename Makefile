# Each target sets up all that it needs: a .venv, uv in it, and the versions of uv.lock.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin/
export UV_PROJECT_ENVIRONMENT := $(VENV)

.PHONY: demo test systemd-test prove bench lint format reference clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit("sereno needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(RUN)python || $(PYTHON) -m venv --without-pip $(VENV)
	test -x $(RUN)uv || $(PYTHON) -m pip --python $(RUN)python install --quiet uv 2>/dev/null || $(PYTHON) .ci/bootstrap.py $(VENV)
	$(RUN)uv sync --quiet --frozen --all-extras
	@touch $(READY)

demo: $(READY)  ## one whole night in a sample cooperative, and what each channel received
	@$(RUN)sereno demo $(DEMO)

test: $(READY)  ## every test, on real servers
	$(RUN)pytest --numprocesses 2 --dist loadgroup $(TESTS)

systemd-test: $(READY)  ## a Debian root, booted, with the wheel installed: what systemd sees of us
	$(RUN)pytest -s -v --override-ini=python_files=boot.py tests/systemd

prove: $(READY)  ## the long proofs, with their figures
	$(RUN)python tests/prove/calendar_proof.py
	$(RUN)python tests/prove/systemd_calendar.py
	$(RUN)python tests/prove/two_daemons.py
	$(RUN)python tests/prove/archive_crashes.py
	$(RUN)python tests/prove/partition_crashes.py
	$(RUN)python tests/prove/symlink_race.py
	$(RUN)python tests/prove/alert_kills.py
	$(RUN)python tests/prove/alert_sequences.py
	$(RUN)python tests/prove/mail_pictures.py

bench: $(READY)  ## beside the peer, in turns: ratios
	$(RUN)python -m benchmarks.vacuum $(BENCH)
	$(RUN)python -m benchmarks.foreground $(BENCH)
	$(RUN)python -m benchmarks.planning $(BENCH)
	$(RUN)python -m benchmarks.archive $(BENCH)
	$(RUN)python -m benchmarks.archive_foreground $(BENCH)
	$(RUN)python -m benchmarks.alerting
	$(RUN)python -m benchmarks.idle

lint: $(READY)
	$(RUN)ruff format --check .
	$(RUN)ruff check .
	$(RUN)mypy
	$(RUN)lint-imports

format: $(READY)
	$(RUN)ruff format .
	$(RUN)ruff check --fix .

reference: $(READY)  ## the reference configuration, from the models
	$(RUN)sereno config reference > config.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

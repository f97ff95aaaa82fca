# make demo | make test: the two to know. Both set up what they need first (packaging/setup.sh).

PREFIX ?= /usr/local
SBINDIR ?= /sbin
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
KEEP ?=

BIN := .venv/bin
PROGRAM := $(CURDIR)/$(BIN)/smbfuse
# mount(8) looks for helpers of `mount -t TYPE` as /sbin/mount.TYPE and nowhere else that can be relied on.
HELPERS := $(DESTDIR)$(SBINDIR)/mount.smbfuse $(DESTDIR)$(SBINDIR)/mount.fuse.smbfuse
LINKS := $(DESTDIR)$(PREFIX)/bin/smbfuse $(HELPERS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types pytest man-table bench fuzz programs soak lock install install-links \
    uninstall uninstall-links clean

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 24

setup: ## install what is missing: Debian packages, .venv, smbfuse in it
	@packaging/setup.sh

demo: setup ## mount a real SMB1 share and show it (KEEP=1: stay mounted until Ctrl-C)
	@PYTHONPATH=. KEEP=$(KEEP) $(BIN)/python packaging/demo.py

test: lint types pytest ## lint, types and all tests

lint: setup ## style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict over everything
	$(BIN)/mypy
	$(BIN)/mypy packaging/demo.py

# After lint and types, so that pytest has the closing line; one after the other also under `make -j`. Files are not
# divided among processes: their tests share mounts and servers.
pytest: lint types
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

man-table: setup ## write the tables of man/smbfuse.1 anew
	$(BIN)/python -m pytest tests/core/files/test_oplock_table.py tests/mount/test_posix.py tests/mount/test_posix_table.py \
	    --write-table

bench: ## speed, beside other clients on the same machine and server
	@packaging/setup.sh bench
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

fuzz: setup ## damaged answers for the codec, the engine, sessions and mounts, a minute each (FUZZ_ARGS: --help)
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

programs: ## other people's programs on mounts of all settings, beside the same on the disk (an hour)
	@packaging/setup.sh programs
	$(BIN)/python -m tests.programs $(PROGRAMS_ARGS)

soak: ## eight processes on a mount while network and server fail (ten minutes; SOAK_ARGS="--seconds 60")
	@packaging/setup.sh
	$(BIN)/python -m tests.soak $(SOAK_ARGS)

lock: ## pin the Python packages anew (UPGRADE=1: take newer versions)
	@packaging/lock.sh

install: install-links ## mount helpers, plus smbfuse and its man pages below PREFIX
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(MANDIR)/man1' '$(DESTDIR)$(MANDIR)/man8'
	ln -sfn '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/bin/smbfuse'
	install -m 644 man/smbfuse.1 '$(DESTDIR)$(MANDIR)/man1/'
	install -m 644 man/mount.smbfuse.8 '$(DESTDIR)$(MANDIR)/man8/'

install-links: setup ## /sbin/mount.smbfuse and /sbin/mount.fuse.smbfuse, for mount -t and fstab (root)
	install -d '$(DESTDIR)$(SBINDIR)'
	for link in $(HELPERS); do ln -sfn '$(PROGRAM)' "$$link" || exit; done

uninstall: uninstall-links ## undo install
	rm -f '$(DESTDIR)$(MANDIR)/man1/smbfuse.1' '$(DESTDIR)$(MANDIR)/man8/mount.smbfuse.8'

# Only links that lead here: another checkout's or a distribution's stay.
uninstall-links: ## undo install-links
	for link in $(LINKS); do \
	    if [ "$$(readlink "$$link")" = '$(PROGRAM)' ]; then rm -f "$$link"; fi; \
	done

clean: ## remove what was built, .venv too
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find smbfuse tests packaging -name __pycache__ -prune -exec rm -rf {} +
	find smbfuse -name '*.so' -delete

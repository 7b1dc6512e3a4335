# Two commands are for everyone: `make demo` and `make test`. Both make their environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each starts a Ray and an S3 server of its own where its tests need them: more take memory, not less time.
TEST_WORKERS := 2
# Tests start hundreds of Python processes: without byte code, each would compile Ray, PyTorch and this project anew.
unexport PYTHONDONTWRITEBYTECODE
READY := $(VENV)/.ready
SOURCES := $(shell find kernels -name '*.h' -o -name '*.cc' -o -name 'CMakeLists.txt')

.PHONY: demo test tests test-gpu test-cuda-compile lint types parity bench bench-kernels bench-calibration bench-quality bench-gpu bench-gpu-operations bench-gpu-compile clean

demo: $(READY)  ## quantize the bundled model to a three-rung ladder in ./out
	$(BIN)/ggufactory quantize tests/data/tinylm --to out --ladder Q8_0,Q6_K,Q4_K_M \
		--imatrix tests/data/imatrix/tinylm-bf16.imatrix.gguf

test: lint  ## everything that must pass; mypy, which takes a minute of one processor, beside the tests
	$(MAKE) --no-print-directory --jobs 2 types tests

tests: $(READY)
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

parity: $(READY)  ## minutes: every type, instruction set and family of weights against ggml
	$(BIN)/pytest -m 'parity or not parity' tests/kernels/test_golden_blocks.py tests/kernels/test_long_parity.py

test-gpu: $(READY)  ## kernels, calibration and a job on this machine's GPU; skips, and says why, where there is none
	$(BIN)/pytest -m gpu

test-cuda-compile: $(READY)  ## minutes: every CUDA kernel for every architecture, with no GPU
	$(BIN)/pytest -m cuda_compile --timeout 3600 tests/kernels/test_cuda_compile.py

bench: $(READY) bench-kernels bench-calibration  ## verify, time, and write dated records under ops/benchmarks/
	$(BIN)/python ops/benchmarks/ladder.py

bench-kernels: $(READY)
	$(BIN)/python ops/benchmarks/kernels.py

bench-calibration: $(READY)
	$(BIN)/python ops/benchmarks/calibration.py

bench-quality: $(READY)  ## minutes: every rung of the bundled model against its source; writes a dated record and plots
	$(BIN)/python ops/benchmarks/quality.py

bench-gpu: $(READY)  ## verify and time every type and a ladder on this machine's GPU; writes a dated record
	$(BIN)/python ops/benchmarks/gpu_kernels.py

bench-gpu-operations: $(READY)  ## minutes: count what every CUDA kernel executes for a weight, with no GPU
	$(BIN)/python ops/benchmarks/gpu_operations.py

bench-gpu-compile: $(READY)  ## minutes: registers, spills, stack and shared memory of every CUDA kernel, with no GPU
	$(BIN)/python ops/benchmarks/gpu_compile.py

# The constraints pin every release that the tests were run with; the build backend comes first, so
# that the kernels are compiled in place and rebuilt when their sources change.
$(READY): pyproject.toml constraints.txt $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt scikit-build-core nanobind cmake ninja
	$(BIN)/pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build out

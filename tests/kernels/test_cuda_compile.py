"""Every CUDA kernel compiles without a GPU, in plain IEEE arithmetic and within its registers."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ggufactory_kernels import __main__ as program
from ggufactory_kernels.cuda import cache, compiler, driver
from ggufactory_kernels.cuda.kernels import KERNELS
from ggufactory_kernels.cuda.report import KernelReport, describe, report

needs_nvrtc = pytest.mark.skipif(compiler.missing() is not None, reason=f"no NVRTC: {compiler.missing()}")

COMMON = ("sm_80", "sm_90", "sm_100")
"""Compiled for in every run; `cuda_compile` has the others."""

SPILLS = {
    "quantize_q3_k_weighted": 24,
    "quantize_q5_k": 16,
    "quantize_q5_k_weighted": 36,
    "quantize_iq1_s_weighted": 56,
    "quantize_iq2_xs_weighted": 28,
    "quantize_iq2_s_weighted": 28,
}
"""Bytes that a kernel may spill, by name, on the worst of the architectures. The assembler holds itself to fewer
registers than it might take (decision 0018)."""


def check(found: KernelReport, architecture: str) -> None:
    assert found.fma_instructions == 0, f"{found.name}: a fused multiply-add rounds once where ggml rounds twice"
    assert found.spill_bytes <= SPILLS.get(found.name, 0), f"{found} for {architecture}"
    assert found.registers <= 255


@needs_nvrtc
@pytest.mark.parametrize("architecture", COMMON)
@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_compiles(name: str, architecture: str) -> None:
    check(next(report([KERNELS[name]], architecture)), architecture)


@needs_nvrtc
@pytest.mark.cuda_compile
@pytest.mark.parametrize("architecture", [name for name in compiler.ARCHITECTURES if name not in COMMON])
def test_every_kernel_compiles_for_the_other_architectures(architecture: str) -> None:
    for found in report(KERNELS.values(), architecture):
        check(found, architecture)


@needs_nvrtc
def test_a_fused_operation_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'extern "C" __global__ void sum(float* x) { x[0] = x[1] * x[2] + x[3]; }'
    assert describe("sum", compiler.compile_source("sum", source, "sm_90")).fma_instructions == 0
    monkeypatch.setattr(compiler, "_FLAGS", ("-fmad=true",))
    assert describe("sum", compiler.compile_source("sum", source, "sm_90")).fma_instructions == 1


@needs_nvrtc
def test_a_kernel_that_does_not_compile_is_named() -> None:
    with pytest.raises(compiler.CompilerError, match=r"sum for sm_90: sum.cu\(1\): error"):
        compiler.compile_source("sum", "nonsense", "sm_90")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names of what is compiled, which takes no time; the cache is empty."""
    names: list[str] = []

    def compile_kernel(kernel: Any, architecture: str) -> compiler.Compiled:
        names.append(f"{kernel.name} {architecture}")
        return compiler.Compiled(f"{kernel.source} {architecture}".encode(), "", "")

    monkeypatch.setattr(cache, "compile_kernel", compile_kernel)
    monkeypatch.setattr(compiler, "compiler_version", lambda: "13.5")
    monkeypatch.setenv("GGUFACTORY_CUBIN_CACHE", str(tmp_path / "cubins"))
    return names


def test_cubins_are_compiled_once(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    q4_k, q8_0 = KERNELS["quantize_q4_k"], KERNELS["quantize_q8_0"]
    first = cache.cubin(q4_k, "sm_90")
    assert cache.cubin(q4_k, "sm_90") == first
    assert compiled == ["quantize_q4_k sm_90"]
    cache.cubin(q4_k, "sm_80")
    cache.cubin(q8_0, "sm_90")
    monkeypatch.setattr(compiler, "compiler_version", lambda: "13.6")
    cache.cubin(q4_k, "sm_90")
    monkeypatch.setattr(compiler, "_headers_digest", lambda: "changed")
    cache.cubin(q4_k, "sm_90")
    monkeypatch.setattr(compiler, "_FLAGS", ("-other",))
    cache.cubin(q4_k, "sm_90")
    assert len(compiled) == 6
    assert len(list(cache.folder().iterdir())) == 6, "nothing half-written is left"


def test_a_cache_that_cannot_be_written_only_costs_time(compiled: list[str], tmp_path: Path) -> None:
    (tmp_path / "cubins").write_text("a file, not a folder")
    kernel = KERNELS["quantize_q8_0"]
    assert cache.cubin(kernel, "sm_90") == cache.cubin(kernel, "sm_90")
    assert len(compiled) == 2


def test_the_fingerprint_covers_every_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda" / "a.h").write_text("1")
    monkeypatch.setattr(compiler, "CSRC", tmp_path)
    digests = set()
    for content in ("1", "2"):
        (tmp_path / "cuda" / "a.h").write_text(content)
        digests.add(compiler._headers_digest.__wrapped__())
    assert len(digests) == 2


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, package=None: None if name.startswith("cuda") else find(name, package)
    )
    assert driver.missing() == "the extra is not installed: pip install 'ggufactory[cuda]'"


@pytest.mark.parametrize(
    ("capability", "wanted"), [((8, 0), "sm_80"), ((8, 6), "sm_80"), ((8, 9), "sm_89"), ((9, 0), "sm_90")]
)
def test_the_newest_usable_architecture_is_chosen(
    capability: tuple[int, int], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: capability)
    assert driver.architecture(0) == wanted


def test_an_old_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda index: (7, 5))
    with pytest.raises(driver.DriverError, match=r"the GPU is of sm_75; kernels are compiled for sm_80, .*sm_120"):
        driver.architecture(0)


@needs_nvrtc
def test_the_command_prints_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["ggufactory_kernels", "compile", "--arch", "sm_90", "--json", "--kernel", "convert_f32"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert program.main() == 0
    (found,) = json.loads(capsys.readouterr().out)["kernels"]
    assert found.keys() == {
        "name",
        "registers",
        "spill_bytes",
        "stack_bytes",
        "shared_bytes",
        "fma_instructions",
    }
    assert found["name"] == "convert_f32"
    assert found["registers"] > 0


def test_without_a_compiler_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiler, "missing", lambda: "the extra is not installed")
    assert program.compile_all("sm_90", [], as_json=True) == 1
    assert "the extra is not installed" in capsys.readouterr().err

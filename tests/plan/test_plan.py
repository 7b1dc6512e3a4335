"""The plan: pure, complete, and its numbers true."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ggufactory.architectures import describe
from ggufactory.architectures.model import Model
from ggufactory.calibrate.imatrix import ImportanceMatrix, read_importance_matrix
from ggufactory.checkpoint import Checkpoint, open_checkpoint
from ggufactory.errors import PlanError
from ggufactory.plan import plan as planning
from ggufactory.plan.options import NO_OPTIONS, Options
from ggufactory.plan.plan import Plan
from ggufactory.plan.summary import as_json
from ggufactory.storage.protocol import PartLimits

MIB = 1 << 20
FOLDER = PartLimits(min_part_bytes=1, max_part_bytes=1 << 40, max_parts=1 << 20)
S3 = PartLimits(min_part_bytes=5 * MIB, max_part_bytes=5 << 30, max_parts=10_000)
EVERY_KERNEL = frozenset({"Q8_0", "Q6_K", "Q4_K", "Q5_0", "BF16", "F16", "F32"})


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return open_checkpoint(str(Path(__file__).parents[1] / "data" / "tinylm"))


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> Model:
    return describe(checkpoint)


def _plan(
    checkpoint: Checkpoint,
    model: Model,
    ladder: Sequence[str] = ("Q8_0", "Q4_K_M"),
    *,
    limits: PartLimits = FOLDER,
    importance: ImportanceMatrix | None = None,
    span_bytes: int | None = None,
    quantizable: frozenset[str] = EVERY_KERNEL,
    options: Options = NO_OPTIONS,
) -> Plan:
    return planning.make(
        model,
        ladder,
        name="m",
        source=checkpoint.store.uri,
        files=checkpoint.files,
        limits=limits,
        importance_matrix=importance,
        quantizable=quantizable,
        span_bytes=span_bytes,
        options=options,
    )


def test_does_not_depend_on_the_order_of_tensors(checkpoint: Checkpoint, model: Model) -> None:
    shuffled = list(model.tensors)
    random.Random(3).shuffle(shuffled)
    one, other = _plan(checkpoint, model), _plan(checkpoint, replace(model, tensors=tuple(shuffled)))
    assert one.fingerprint == other.fingerprint
    assert [one.header(r, r.files[0]) for r in one.rungs] == [other.header(r, r.files[0]) for r in other.rungs]


def test_fingerprint_follows_what_decides_the_bytes(checkpoint: Checkpoint, model: Model, tinylm_imatrix: str) -> None:
    def with_changed_shard() -> Checkpoint:
        name = "model-00001-of-00002.safetensors"
        return replace(checkpoint, files={**checkpoint.files, name: replace(checkpoint.files[name], etag="other")})

    plans = [
        _plan(checkpoint, model),
        _plan(checkpoint, model, ["Q8_0"]),
        _plan(checkpoint, model, span_bytes=100_000),
        _plan(checkpoint, model, importance=read_importance_matrix(tinylm_imatrix)),
        _plan(with_changed_shard(), model),
        _plan(checkpoint, replace(model, metadata=model.metadata[1:])),
    ]
    assert len({plan.fingerprint for plan in plans}) == len(plans)
    assert _plan(checkpoint, model).fingerprint == plans[0].fingerprint


def test_a_file_is_the_same_however_it_is_cut_and_whatever_is_made_beside_it(
    checkpoint: Checkpoint, model: Model
) -> None:
    plans = [_plan(checkpoint, model), _plan(checkpoint, model, ["Q8_0", "F16"], span_bytes=99_999)]
    assert plans[0].rungs[0].files[0].identity == plans[1].rungs[0].files[0].identity
    assert plans[0].rungs[0].files[0].part_offsets != plans[1].rungs[0].files[0].part_offsets


def test_all_faults_together(checkpoint: Checkpoint, model: Model) -> None:
    with pytest.raises(PlanError) as caught:
        _plan(checkpoint, model, ["Q8_0", "q8_0", "Q9_X", "IQ2_XS"])
    message = str(caught.value)
    assert "6 faults" in message
    assert "rung Q8_0 is named twice" in message
    assert "unknown rung 'Q9_X'" in message
    assert "Known: F32, F16" in message
    for kind in ("IQ2_XS", "Q2_K", "Q5_K"):
        assert f"rung IQ2_XS needs {kind} for" in message
    assert "rung IQ2_XS needs an importance matrix (--imatrix) for" in message


def test_importance_that_does_not_fit(checkpoint: Checkpoint, model: Model, tinylm_imatrix: str) -> None:
    matrix = read_importance_matrix(tinylm_imatrix)
    entries = dict(matrix.entries)
    entries["blk.0.attn_q.weight"] = np.ones((1, 255), np.float32)
    del entries["blk.1.ffn_up.weight"]
    entries["blk.77.ffn_up.weight"] = np.ones((1, 256), np.float32)
    with pytest.raises(PlanError) as caught:
        _plan(checkpoint, model, importance=replace(matrix, entries=entries))
    assert "blk.0.attn_q.weight wants 1 x 256 values, found 1 x 255" in str(caught.value)
    assert "no entry for 1 tensors that would use one: blk.1.ffn_up.weight" in str(caught.value)
    unused = replace(matrix, entries={**matrix.entries, "blk.77.ffn_up.weight": np.ones((1, 256), np.float32)})
    assert any("blk.77.ffn_up.weight" in note for note in _plan(checkpoint, model, importance=unused).notes)


def test_a_width_that_no_block_divides_is_told(checkpoint: Checkpoint, model: Model) -> None:
    narrow = tuple(replace(t, shape=(t.rows, 32)) if t.name.endswith("attn_q.weight") else t for t in model.tensors)
    plan = _plan(checkpoint, replace(model, tensors=narrow), ["Q4_K_M"])
    assert plan.rungs[0].decisions["blk.0.attn_q.weight"].type == "Q5_0"
    assert any("4 tensors are Q5_0 instead of Q4_K" in note for note in plan.notes)


def test_options_that_name_nothing_are_told_once(checkpoint: Checkpoint, model: Model, tinylm_imatrix: str) -> None:
    options = Options(tensor_types=(("attn_w", "Q8_0"), ("attn_v", "Q8_0")), exclude_importance=("ffn_upp", "ffn_up"))
    matrix = read_importance_matrix(tinylm_imatrix)
    plan = _plan(checkpoint, model, ["Q4_K_M", "Q4_K_S"], importance=matrix, options=options)
    told = [note for note in plan.notes if "no name" in note or "no entry of" in note]
    assert told == [
        "attn_w=Q8_0 is the type of no tensor: no name matches 'attn_w'",
        "no entry of the importance matrix holds 'ffn_upp', which is to be included or excluded",
    ]
    plan = _plan(checkpoint, model, ["Q4_K_M"], options=options)
    assert [note for note in plan.notes if "no name" in note or "no entry of" in note] == told[:1], (
        "without a matrix nothing is left out"
    )


def test_a_part_that_the_target_does_not_take(checkpoint: Checkpoint, model: Model) -> None:
    small = PartLimits(min_part_bytes=1, max_part_bytes=1000, max_parts=10)
    with pytest.raises(PlanError, match=r"a part of .* bytes; the target takes 1000 at most.*--span-size"):
        _plan(checkpoint, model, limits=small)


def test_json_sums_up(checkpoint: Checkpoint, model: Model) -> None:
    plan = _plan(checkpoint, model)
    summary = as_json(plan)
    wanted = {"fingerprint", "source", "rungs", "spans", "worker_bytes", "device_bytes", "processor_seconds", "notes"}
    assert set(summary) == wanted
    for rung in summary["rungs"]:
        assert rung["bytes"] == sum(file["bytes"] for file in rung["files"])
        assert set(rung["tensors"]) == {t.name for t in model.tensors}


def test_importing_it_loads_no_torch_ray_or_boto3() -> None:
    code = "import sys, ggufactory.plan.plan; print({'torch', 'ray', 'boto3'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_llama_405b_from_headers_alone(tmp_path: Path) -> None:
    """126 layers in 191 shards, to S3: the limits hold, the sizes add up, and memory stays small."""
    from synthetic import LLAMA_405B, write_headers_only_405b

    write_headers_only_405b(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    checkpoint = open_checkpoint(str(tmp_path))
    plan = _plan(checkpoint, describe(checkpoint), ["Q8_0", "Q6_K", "Q4_K_M", "BF16"], limits=S3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < 300 * MIB
    parameters = 2 * 128256 * 16384 + 126 * (16384 * (2 * 16384 + 2 * 1024 + 3 * 53248) + 2 * 16384) + 16384
    assert plan.elements == parameters + 64
    assert len(plan.tensors) == len(LLAMA_405B.tensors()) + 1
    for rung in plan.rungs:
        (file,) = rung.files
        sizes = np.diff(file.part_offsets)
        assert file.parts == len(plan.spans) < 10_000
        assert min(sizes[:-1]) >= 5 * MIB
        assert max(sizes) <= 5 << 30
        assert sum(sizes) == file.size == rung.bytes
        data = sum(_packed(rung.decisions[t.name].type, t.rows, t.columns) for t in plan.tensors)
        assert file.size == file.header_bytes + data
    rows = [0] * len(plan.tensors)
    for piece in (p for span in plan.spans for p in span):
        assert piece.start == rows[piece.tensor]
        rows[piece.tensor] = piece.stop
    assert rows == [t.rows for t in plan.tensors]
    assert plan.worker_bytes < 4 << 30


def _packed(kind: str, rows: int, columns: int) -> int:
    """Bytes of a tensor in a file, padding included; block sizes as GGUF defines them."""
    block, size = {"Q8_0": (32, 34), "Q6_K": (256, 210), "Q4_K": (256, 144), "BF16": (1, 2), "F32": (1, 4)}[kind]
    return -(-rows * columns // block * size // 32) * 32

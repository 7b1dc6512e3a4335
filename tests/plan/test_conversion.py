"""Sources that already have a type: what is copied, what is converted, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gguf_files import u32
from ggufactory.architectures.model import Model, OutputTensor
from ggufactory.calibrate.imatrix import ImportanceMatrix
from ggufactory.checkpoint.rows import StoredRows
from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import PlanError
from ggufactory.plan import memory
from ggufactory.plan import plan as planning
from ggufactory.plan.plan import Plan
from ggufactory.storage.protocol import ObjectInfo, PartLimits

KERNELS = frozenset({"F32", "F16", "BF16", "Q8_0", "Q6_K", "Q4_K"})
FOLDER = PartLimits(min_part_bytes=1, max_part_bytes=1 << 40, max_parts=1 << 20)


def _tensor(name: str, type: str, *shape: int) -> OutputTensor:
    rows = int(np.prod(shape[:-1]))
    return OutputTensor(name, shape, type, (StoredRows(name, "m.gguf", 0, type, rows, shape[-1]),))


def _plan(
    tensors: Sequence[OutputTensor],
    ladder: Sequence[str],
    *,
    metadata: Sequence[KeyValue] = (),
    allow_requantize: bool = False,
    importance: ImportanceMatrix | None = None,
) -> Plan:
    return planning.make(
        Model("llama", (u32("llama.block_count", 2), *metadata), tuple(tensors)),
        ladder,
        name="m",
        source="folder",
        files={"m.gguf": ObjectInfo("m.gguf", 1, "tag")},
        limits=FOLDER,
        quantizable=KERNELS,
        allow_requantize=allow_requantize,
        importance_matrix=importance,
    )


QUANTIZED = (
    _tensor("token_embd.weight", "F16", 3, 256),
    _tensor("output.weight", "Q6_K", 3, 256),
    *(_tensor(f"blk.{n}.ffn_up.weight", "Q8_0", 5, 256) for n in range(9)),
    _tensor("blk.0.attn_norm.weight", "Q8_0", 256),
)


def test_a_tensor_that_has_its_type_is_copied() -> None:
    plan = _plan((*QUANTIZED[:2], QUANTIZED[-1]), ["Q6_K"])
    types = {name: d.type for name, d in plan.rungs[0].decisions.items()}
    assert types == {"token_embd.weight": "Q6_K", "output.weight": "Q6_K", "blk.0.attn_norm.weight": "Q8_0"}


def test_quantizing_again_is_refused_naming_every_tensor() -> None:
    with pytest.raises(PlanError) as caught:
        _plan(QUANTIZED, ["Q6_K", "F16", "IQ2_XS"])
    said = str(caught.value)
    assert "10 tensors of the source are quantized" in said
    assert "--allow-requantize" in said
    for tensor in QUANTIZED[1:-1]:
        assert tensor.name in said
    assert "attn_norm" not in said
    assert "rung IQ2_XS needs an importance matrix" in said, "all faults together"


def test_quantizing_again_is_allowed() -> None:
    plan = _plan(QUANTIZED, ["Q6_K", "F16"], allow_requantize=True)
    assert {d.type for d in plan.rungs[0].decisions.values()} == {"Q6_K", "Q8_0"}
    assert plan.rungs[1].decisions["output.weight"].type == "F16"


def test_a_type_without_a_kernel_can_be_copied() -> None:
    table = _tensor("blk.0.ffn_gate_tid2eid.weight", "I32", 4, 8)
    kept = _tensor("blk.0.ffn_gate_inp.weight", "IQ3_S", 4, 256)
    plan = _plan((_tensor("output.weight", "BF16", 3, 256), table, kept), ["Q8_0"])
    types = {name: d.type for name, d in plan.rungs[0].decisions.items()}
    assert types == {"output.weight": "Q8_0", table.name: "I32", kept.name: "IQ3_S"}


@pytest.mark.parametrize("type", ["I32", "F64"])
def test_numbers_that_are_no_weights(type: str) -> None:
    with pytest.raises(PlanError, match=rf"1 tensors that should be quantized hold no weights: {type}: a\.weight"):
        _plan((_tensor("a.weight", type, 3, 256),), ["Q8_0"])
    assert _plan((_tensor("a.bias", type, 3, 256),), ["Q8_0"]).rungs[0].decisions["a.bias"].type == type


def test_four_dimensions() -> None:
    deep = _tensor("a.weight", "F16", 2, 2, 2, 32)
    with pytest.raises(PlanError, match=r"1 tensors that should be quantized have four dimensions: F16: a\.weight"):
        _plan((deep,), ["Q8_0"])
    assert _plan((deep,), ["F16"]).elements == 256
    patches = _tensor("v.patch_embd.weight", "F16", 2, 2, 2, 32)
    assert _plan((patches,), ["Q8_0"]).rungs[0].decisions[patches.name].type == "F16"
    flat = _tensor("a.weight", "F16", 1, 2, 2, 32)
    assert _plan((flat,), ["Q8_0"]).rungs[0].decisions["a.weight"].type == "Q8_0"


def test_copied_tensors_need_no_importance() -> None:
    matrix = ImportanceMatrix("x.gguf", "0", (), 1, {"output.weight": np.ones((1, 256), np.float32)}, {})
    kept = _tensor("blk.0.ffn_up.weight", "Q6_K", 3, 256)
    assert _plan((kept,), ["Q6_K"], importance=matrix).rungs[0].decisions[kept.name].type == "Q6_K"
    with pytest.raises(PlanError, match=r"no entry for 1 tensors"):
        _plan((_tensor(kept.name, "BF16", 3, 256),), ["Q6_K"], importance=matrix)


@pytest.mark.parametrize(("row", "needed"), [(1 << 10, memory.TILE_BYTES), (1 << 26, 1 << 26)])
def test_memory_of_unpacked_rows(row: int, needed: int) -> None:
    """Rows that are held quantized pass through single precision, a tile (or a row) at a time."""

    def bytes_of(held_type: str, type: str) -> int:
        piece = memory.PieceBytes(held=1 << 20, held_type=held_type, packed=((type, False, 1 << 20),), unpacked_row=row)
        return memory.span_bytes([piece], [1 << 20], headers=0)

    assert bytes_of("Q8_0", "Q6_K") - bytes_of("Q8_0", "Q8_0") == needed
    assert bytes_of("BF16", "Q6_K") == bytes_of("BF16", "BF16")


def test_names_stay_where_nothing_is_pruned() -> None:
    """Numbers that are written in another way are not written anew."""
    odd = _tensor("blk.007.ffn_up.weight", "F16", 3, 256)
    assert list(_plan((odd,), ["Q8_0"]).rungs[0].decisions) == [odd.name]


def test_strings_are_copied_as_c_does() -> None:
    metadata = (
        KeyValue("general.architecture", ValueType.STRING, "llama"),
        KeyValue("general.description", ValueType.STRING, "before\0after"),
        KeyValue("tokenizer.ggml.tokens", ValueType.ARRAY, ("a\0b", b"\xff\0", "", "\0"), ValueType.STRING),
    )
    plan = _plan((_tensor("output.weight", "F16", 3, 256),), ["Q8_0"], metadata=metadata)
    header = plan.header(plan.rungs[0], plan.rungs[0].files[0])
    assert b"before" in header
    assert b"after" not in header
    tokens = b"".join(len(t).to_bytes(8, "little") + t for t in (b"a", b"\xff", b"", b""))
    assert (4).to_bytes(8, "little") + tokens in header

"""Ladders by name, variants, and options under options."""

from __future__ import annotations

import pytest

from ggufactory.container.metadata import KeyValue, ValueType
from ggufactory.errors import InputError
from ggufactory.plan.facts import ModelFacts
from ggufactory.plan.ftypes import FILE_TYPES, file_type
from ggufactory.plan.ladder import LADDERS, VARIANTS, Rung, resolve
from ggufactory.plan.options import NO_OPTIONS, Options
from ggufactory.plan.recipe import Decision, decide_types
from ggufactory.plan.roles import TensorFacts

FACTS = ModelFacts("llama", layers=4, gqa=4, experts=0, is_70b=False)


def _tensors(width: int = 256) -> list[TensorFacts]:
    blocks = [
        TensorFacts(f"blk.{i}.{part}.weight", (width, 64), "BF16")
        for i in range(4)
        for part in ("attn_v", "attn_q", "ffn_down")
    ]
    ends = [TensorFacts(name, (width, 128), "BF16") for name in ("token_embd.weight", "output.weight")]
    return [*ends, *blocks, TensorFacts("output_norm.weight", (width,), "F32")]


def _types(rung: str, options: Options, tensors: list[TensorFacts] | None = None) -> dict[str, Decision]:
    return decide_types(tensors or _tensors(), FACTS, file_type(rung), has_importance=True, options=options)


@pytest.mark.parametrize("name", LADDERS)
def test_named_ladders(name: str) -> None:
    rungs, faults = resolve([name], NO_OPTIONS)
    assert not faults
    assert [rung.name for rung in rungs] == list(LADDERS[name])


def test_all_is_all() -> None:
    assert set(LADDERS["all"]) == set(FILE_TYPES)


def test_a_ladder_and_more() -> None:
    rungs, faults = resolve(["classic", "q4_k_l", "Q4_K"], NO_OPTIONS)
    assert [rung.name for rung in rungs][-1] == "Q4_K_L"
    assert faults == ["rung Q4_K_M is named twice in the ladder"]


def test_variants_keep_embeddings_and_output_at_q8() -> None:
    for rung in VARIANTS.values():
        types = _types(rung.file_type.name, rung.options)
        assert types["output.weight"].type == types["token_embd.weight"].type == "Q8_0"
        plain = _types(rung.file_type.name, NO_OPTIONS)
        assert {n: d for n, d in types.items() if n.startswith("blk.")} == {
            n: d for n, d in plain.items() if n.startswith("blk.")
        }


def test_own_options_over_general_ones() -> None:
    general = Options(tensor_types=(("attn", "Q6_K"),), output_type="Q8_0", exclude_importance=("ffn",))
    own = Options(tensor_types=(("attn_v", "F16"),), token_embedding_type="Q5_K", include_importance=("attn",))
    ((rung,), _) = resolve([Rung("mine", file_type("Q4_K_M"), own)], general)
    assert rung.options == Options(
        tensor_types=(("attn_v", "F16"), ("attn", "Q6_K")),
        output_type="Q8_0",
        token_embedding_type="Q5_K",
        include_importance=("attn",),
    )


def test_the_first_expression_that_is_found_decides() -> None:
    types = _types("Q4_K_M", Options(tensor_types=((r"blk\.0\.attn_v", "F16"), ("attn_v", "Q8_0"))))
    assert [types[f"blk.{i}.attn_v.weight"].type for i in range(4)] == ["F16", "Q8_0", "Q8_0", "Q8_0"]


def test_tensors_that_an_expression_names_are_not_counted() -> None:
    """The mix's counters go on with the tensors that it decides, as in the reference."""
    plain, pinned = _types("Q3_K_M", NO_OPTIONS), _types("Q3_K_M", Options(tensor_types=(("blk.0.attn_v", "F16"),)))
    assert [plain[f"blk.{i}.attn_v.weight"].type for i in range(4)] == ["Q5_K", "Q5_K", "Q4_K", "Q4_K"]
    assert [pinned[f"blk.{i}.attn_v.weight"].type for i in range(4)] == ["F16", "Q5_K", "Q5_K", "Q4_K"]


def test_pure_and_leave_output() -> None:
    types = _types("Q4_K_M", Options(pure=True, leave_output=True))
    assert types["output.weight"].type == "BF16"
    assert {d.type for n, d in types.items() if n.startswith("blk.")} == {"Q4_K"}


def test_expressions_do_not_touch_a_plain_file_type() -> None:
    assert _types("F16", Options(tensor_types=(("attn_v", "Q8_0"),)))["blk.0.attn_v.weight"].type == "F16"
    assert _types("F16", Options(output_type="Q8_0"))["output.weight"].type == "Q8_0"


def test_a_named_type_that_does_not_fit_has_no_substitute() -> None:
    types = _types("Q4_K_M", Options(token_embedding_type="Q6_K", tensor_types=(("attn_q", "Q6_K"),)), _tensors(96))
    assert types["token_embd.weight"].refused
    assert types["blk.0.attn_q.weight"] == Decision("Q8_0", wanted="Q6_K")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tensor_types": (("(", "Q8_0"),)}, "is no regular expression"),
        ({"tensor_types": (("a", "Q9"),)}, "unknown tensor type 'Q9'"),
        ({"output_type": "Q4_K_M"}, "output_type: unknown tensor type 'Q4_K_M'"),
        ({"include_importance": ("a",), "exclude_importance": ("b",)}, "cannot be used together"),
    ],
)
def test_options_that_cannot_be_meant(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        Options(**options)  # type: ignore[arg-type]


def test_metadata_adds_up() -> None:
    one, other = KeyValue("a", ValueType.UINT32, 1), KeyValue("b", ValueType.UINT32, 2)
    assert Options(metadata=(other,)).over(Options(metadata=(one,))).metadata == (one, other)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("Q4KM", "Q4_K_M"),
        ("iq2-xs", "IQ2_XS"),
        ("q6_k_xl", "Q6_K_L or Q3_K_XL or Q6_K"),
        ("bartowsky", "bartowski"),
        ("imatrix_small", "imatrix-small"),
    ],
)
def test_a_rung_that_is_nearly_right(given: str, meant: str) -> None:
    assert resolve([given], NO_OPTIONS)[1] == [
        f"unknown rung {given!r}: not a file type of llama-quantize. Did you mean {meant}?"
    ]


def test_a_rung_like_none_gets_the_list_of_all() -> None:
    (fault,) = resolve(["XYZ"], NO_OPTIONS)[1]
    for name in (*FILE_TYPES, *VARIANTS, *LADDERS):
        assert name in fault

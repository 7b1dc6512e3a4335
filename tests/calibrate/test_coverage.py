"""Thin experts and layers that never ran: what an importance matrix holds for them. Formulas, on numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ggufactory.architectures.model import OutputTensor
from ggufactory.calibrate.completed import complete
from ggufactory.calibrate.coverage import Coverage, count_experts, next_chunks, thin_experts, with_prior
from ggufactory.calibrate.imatrix_gguf import encode_gguf, parse_gguf
from ggufactory.calibrate.record import CalibrationRecord, encode_record, record_of
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.errors import InputError

UP, DOWN = "blk.0.ffn_up_exps.weight", "blk.0.ffn_down_exps.weight"
RECORD = CalibrationRecord(
    fingerprint="f",
    made_by="1",
    texts=(("a.txt", "00"),),
    context=512,
    compute_dtype="float32",
    perplexity=7.5,
    coverage=Coverage(policy="prior", tokens=64),
    thin={UP: {1: 0, 7: 3}},
    unreached={"blk.9.attn_q.weight": "prior"},
)


def _sums(counts: list[int], means: list[list[float]]) -> ActivationSums:
    sums = np.array(means) * np.array(counts)[:, None]
    return ActivationSums(sums.astype(np.float32), np.array(counts, np.int64), True)


def _means(sums: ActivationSums) -> list[list[float]]:
    return (sums.sums / sums.counts[:, None]).tolist()


def test_thin_is_fewer_than_so_many() -> None:
    entries = {UP: _sums([10, 9, 0], [[1, 1]] * 3), "blk.0.attn_q.weight": _sums([3], [[1, 1]])}
    assert thin_experts(entries, 10) == {UP: {1: 9, 2: 0}}
    assert thin_experts(entries, 9) == {UP: {2: 0}}
    assert count_experts({UP: {1: 9, 2: 0}, DOWN: {1: 9, 2: 0}}) == "2 experts of 1 layers"


def test_the_prior_is_the_mean_of_the_other_experts_tokens() -> None:
    """10 tokens of mean 2 and 30 of mean 4 have the mean 3.5, not 3."""
    filled = with_prior(UP, _sums([10, 30, 0], [[2, 20], [4, 40], [0, 0]]), 8)
    assert filled.counts.tolist() == [10, 30, 8]
    assert _means(filled) == [[2, 20], [4, 40], [3.5, 35]]


def test_own_tokens_count_beside_the_prior() -> None:
    """Two of eight tokens are its own: their mean 9 and the others' 1 make (2 · 9 + 6 · 1) / 8."""
    filled = with_prior(UP, _sums([100, 2], [[1, 1], [9, 1]]), 8)
    assert _means(filled) == [[1, 1], [3, 1]]
    nearly = with_prior(UP, _sums([100, 999], [[1, 1], [9, 1]]), 1000)
    assert _means(nearly)[1][0] == pytest.approx(9, rel=1e-3), "no step where the prior ends"


def test_columns_that_are_an_experts_own_get_one_level() -> None:
    filled = with_prior(DOWN, _sums([10, 0], [[1, 5], [0, 0]]), 4)
    assert _means(filled) == [[1, 5], [3, 3]]


def test_without_another_experts_token_nothing_changes() -> None:
    alone = _sums([3, 0], [[2, 2], [0, 0]])
    filled = with_prior(UP, alone, 8)
    assert filled.counts.tolist() == [3, 8]
    nothing = with_prior(UP, _sums([0, 0], [[0, 0]] * 2), 8)
    assert nothing.counts.tolist() == [0, 0]


def test_more_chunks_double_up_to_a_limit() -> None:
    assert [next_chunks(10, 50), next_chunks(40, 50)] == [20, 50]


MTP = (
    OutputTensor("blk.0.attn_q.weight", (4, 3), "BF16"),
    OutputTensor("blk.1.attn_q.weight", (4, 3), "BF16"),
    OutputTensor("blk.1.ffn_up_exps.weight", (2, 4, 3), "BF16"),
    OutputTensor("blk.1.attn_k_b.weight", (2, 4, 3), "BF16"),
    OutputTensor("blk.1.nextn.eh_proj.weight", (3, 6), "BF16"),
    OutputTensor("blk.1.attn_norm.weight", (3,), "F32"),
    OutputTensor("output.weight", (9, 3), "BF16"),
)
RUN = {
    "blk.0.attn_q.weight": _sums([10], [[1, 2, 3]]),
    "blk.0.ffn_up_exps.weight": _sums([10, 30], [[2, 2, 2], [4, 4, 4]]),
    "blk.0.attn_k_b.weight": ActivationSums(np.ones((1, 6), np.float32), np.array([10]), True),
}


def test_layers_that_never_ran_get_entries_without_data() -> None:
    found = complete(RUN, MTP, 1, Coverage())
    shapes = {name: sums.sums.shape for name, sums in found.entries.items() if name not in RUN}
    assert shapes == {
        "blk.1.attn_q.weight": (1, 3),
        "blk.1.ffn_up_exps.weight": (2, 3),
        "blk.1.attn_k_b.weight": (1, 6),
        "blk.1.nextn.eh_proj.weight": (1, 6),
    }
    assert all(not found.entries[name].counts.any() for name in shapes)
    assert set(found.unreached.values()) == {"ones"}


def test_a_prior_comes_from_the_last_layer_where_it_reads_hidden_states() -> None:
    found = complete(RUN, MTP, 1, Coverage(policy="prior", tokens=10))
    assert _means(found.entries["blk.1.attn_q.weight"]) == [[1, 2, 3]]
    assert _means(found.entries["blk.1.ffn_up_exps.weight"]) == [[3.5] * 3] * 2, "experts of layers do not correspond"
    assert found.unreached == {
        "blk.1.attn_q.weight": "prior",
        "blk.1.ffn_up_exps.weight": "prior",
        "blk.1.attn_k_b.weight": "ones",
        "blk.1.nextn.eh_proj.weight": "ones",
    }


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"policy": "none"}, "wanted one of ones, prior, more, found 'none'"),
        ({"tokens": 0}, "wanted 1 token or more"),
        ({"policy": "prior", "most_chunks": 4}, "the policy 'more'"),
        ({"policy": "more", "most_chunks": 0}, "wanted 1 or more"),
    ],
)
def test_what_cannot_be_meant(asked: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Coverage(**asked)  # type: ignore[arg-type]


def test_the_record_comes_back_from_the_file() -> None:
    file = ImatrixFile(("a.txt",), 1, 512, {UP: _sums([1, 2], [[1, 1]] * 2)}, encode_record(RECORD))
    read = parse_gguf(encode_gguf(file), "m.gguf")
    assert record_of(read) == RECORD
    assert record_of(ImatrixFile((), 1, 1, {})) is None


@pytest.mark.parametrize("change", [{"format": 2}, {"thin": [1]}, {"coverage": {"policy": "x"}}, {"context": "many"}])
def test_a_record_that_is_not_understood_is_none(change: dict[str, object]) -> None:
    told = json.dumps(json.loads(encode_record(RECORD)) | change)
    assert record_of(ImatrixFile((), 1, 1, {}, told)) is None
    assert record_of(ImatrixFile((), 1, 1, {}, "[" * 100_000)) is None

"""The statistics of importance matrices: the figures that llama-imatrix prints, and the definitions behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.calibrate.imatrix_statistics import ImatrixStatistics, compute_statistics
from ggufactory.calibrate.merge import merge
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.errors import InputError
from synthetic import DATA

IMATRIX = DATA / "imatrix"


def statistics_of(name: str) -> ImatrixStatistics:
    return compute_statistics(merge([(name, read_imatrix_file(str(IMATRIX / name)).content)]))


def sums(values: Any, counts: Any) -> ActivationSums:
    return ActivationSums(np.array(values, np.float32), np.array(counts), True)


def printed(found: ImatrixStatistics) -> list[str]:
    """The rows of both tables, in the formats of llama-imatrix --show-statistics."""
    rows = [
        f"{'-' if of.layer is None else of.layer:>5}\t{of.kind:<20}\t{of.sum:10.2f}\t{of.least:8.4f}\t{of.most:11.4f}\t"
        f"{of.mean:6.2f}\t{of.deviation:6.2f}\t{of.active * 100:8.2f}%\t{of.columns:6}\t{of.entropy:10.4f}\t"
        f"{of.normalized_entropy * 100:6.2f}%\t{of.outliers * 100:10.2f}%\t{of.similarity or 0:8.4f}"
        for of in found.tensors
    ]
    layers = [f"{of.layer:5}\t{of.sum:14.2f}\t{of.outliers * 100:10.4f}%\t{of.similarity:6.4f}" for of in found.layers]
    return rows + layers


@pytest.mark.parametrize(
    ("file", "record"),
    [
        ("tinylm-f32.imatrix.gguf", "tinylm-f32"),
        ("tinylm-f32.imatrix.dat", "tinylm-f32"),
        ("deepseek_v3.imatrix.gguf", "deepseek_v3"),
        ("unreached.imatrix.gguf", "unreached"),
    ],
)
def test_the_figures_are_those_that_the_reference_prints(file: str, record: str) -> None:
    recorded = (IMATRIX / "statistics" / f"{record}.txt").read_text().splitlines()
    assert printed(statistics_of(file)) == recorded


def test_the_definitions_in_double_precision() -> None:
    """The same figures from the formulas, written down once more."""
    file = read_imatrix_file(str(IMATRIX / "deepseek_v3.imatrix.gguf")).content
    for of in compute_statistics(file).tensors:
        entry = file.entries[of.entry]
        x = (entry.sums.astype(np.float64) / entry.counts[:, np.newaxis])[entry.counts > 0].reshape(-1)
        share = x / x.sum()
        expected = {
            "sum": x.sum(),
            "mean": x.mean(),
            "deviation": x.std(),
            "least": x.min(),
            "most": x.max(),
            "active": (x > 1e-5).mean(),
            "entropy": -(share * np.log2(share)).sum(),
            "outliers": (x > x.mean() + x.std()).mean(),
        }
        assert {key: getattr(of, key) for key in expected} == pytest.approx(expected, rel=1e-4), of.entry
        before = of.entry.replace(f"blk.{of.layer}.", f"blk.{(of.layer or 0) - 1}.")
        if before in file.entries:
            one, other = (file.entries[name].sums.astype(np.float64).reshape(-1) for name in (of.entry, before))
            cosine = one @ other / np.sqrt((one @ one) * (other @ other))
            assert of.similarity == pytest.approx(cosine, rel=1e-5)
        else:
            assert of.similarity is None


def test_sums_run_one_after_the_other() -> None:
    """In float32, 2^24 + 1 is 2^24: ones after a large value are lost, as they are in the reference."""
    found = compute_statistics(ImatrixFile((), 0, 1, {"a": sums([[1 << 24, *[1] * 1000]], [1])}))
    assert found.tensors[0].sum == 1 << 24


def test_experts_without_tokens() -> None:
    found = statistics_of("unreached.imatrix.gguf")
    coverage = {of.entry: of for of in found.experts}
    assert list(coverage) == sorted(coverage)
    first = coverage["blk.0.ffn_up_exps.weight"]
    assert (first.matrices, first.unseen, first.fewest, first.median, first.most) == (4, (1,), 0, 95.5, 200)
    assert coverage["blk.2.ffn_up_exps.weight"].unseen == ()
    assert coverage["blk.3.ffn_up_exps.weight"].unseen == (0, 1, 2, 3)
    assert found.empty == ("blk.3.ffn_up_exps.weight",)
    assert "blk.0.attn_k_b.weight" not in coverage, "several matrices with one count are no experts"


@pytest.mark.parametrize(
    ("name", "layer", "kind"),
    [
        ("blk.12.attn_q.weight", 12, "attn_q"),
        ("enc.blk.3.ffn_up.weight", 3, "ffn_up"),
        ("output.weight", None, "output"),
        ("weight", None, "weight"),
        ("blk", None, "blk"),
        ("blk.x.attn_q.weight", None, "attn_q"),
        ("blk.99999999999999999999.attn_q.weight", None, "attn_q"),
        ("blk.7.attn_q", 7, "blk.7.attn_q"),
    ],
)
def test_names(name: str, layer: int | None, kind: str) -> None:
    of = compute_statistics(ImatrixFile((), 0, 1, {name: sums([[1, 2]], [1])})).tensors[0]
    assert (of.layer, of.kind) == (layer, kind)


def test_layers_of_different_widths_are_not_compared() -> None:
    entries = {"blk.0.a.weight": sums([[1, 2]], [1]), "blk.1.a.weight": sums([[1, 2, 3]], [1])}
    assert [of.similarity for of in compute_statistics(ImatrixFile((), 0, 1, entries)).tensors] == [None, None]


def test_values_at_the_ends() -> None:
    """One column, no activation at all, and squares beyond float32: figures, and no warning."""
    entries = {
        "blk.0.one.weight": sums([[5]], [1]),
        "blk.0.zero.weight": sums([[0, 0]], [1]),
        "blk.0.huge.weight": sums([[3e38, 1]], [1]),
        "blk.1.huge.weight": sums([[3e38, 1]], [1]),
        "blk.1.zero.weight": sums([[0, 0]], [1]),
        "blk.1.sum.weight": sums([[3e38, 3e38]], [1]),
    }
    found = {of.entry: of for of in compute_statistics(ImatrixFile((), 0, 1, entries)).tensors}
    assert found["blk.0.one.weight"].normalized_entropy == 0
    assert found["blk.0.zero.weight"].entropy == 0
    assert found["blk.0.huge.weight"].deviation == 0, "as the reference has it: infinity less infinity"
    assert found["blk.1.huge.weight"].similarity is None
    assert found["blk.1.zero.weight"].similarity is None
    assert (found["blk.1.sum.weight"].sum, found["blk.1.sum.weight"].entropy) == (np.inf, 0)


def test_nothing_to_tell() -> None:
    with pytest.raises(InputError, match="no entry of the importance matrix has data"):
        compute_statistics(ImatrixFile((), 0, 1, {"a": sums([[0]], [0])}))

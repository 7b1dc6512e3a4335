"""The picture of an importance matrix: of any model's size, the same bytes again, whatever tensors are called."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.calibrate.imatrix_plot import draw, write_plot
from ggufactory.calibrate.imatrix_statistics import ImatrixStatistics, compute_statistics
from ggufactory.calibrate.sums import ActivationSums, ImatrixFile
from ggufactory.errors import InputError
from synthetic import DATA


def statistics_of(name: str) -> ImatrixStatistics:
    return compute_statistics(read_imatrix_file(str(DATA / "imatrix" / name)).content)


def statistics(layers: int, kinds: list[str]) -> ImatrixStatistics:
    sums = ActivationSums(np.array([[1, 2]], np.float32), np.array([1]), True)
    names = [f"blk.{layer}.{kind}.weight" for layer in range(layers) for kind in kinds]
    return compute_statistics(ImatrixFile((), 0, 1, dict.fromkeys(names, sums)))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *arguments: object, **named: object) -> None:
        saved.append(self)
        save(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "savefig", keep)
    return saved


def test_the_heat_maps_hold_the_figures(figures: list[Figure]) -> None:
    found = statistics_of("unreached.imatrix.gguf")
    draw(found, "title", ".svg")
    means, entropies = (image.get_array() for image in figures[0].findobj(AxesImage))
    assert means is not None
    assert entropies is not None
    kinds = ["attn_k_b", "attn_q", "ffn_down_exps", "ffn_gate_exps", "ffn_up", "ffn_up_exps", "output"]
    assert means.shape == entropies.shape == (5, len(kinds)), "four layers, and one row outside"
    for of in found.tensors:
        row, column = 4 if of.layer is None else of.layer, kinds.index(of.kind)
        assert entropies[row, column] == 100 * of.normalized_entropy
        if of.mean:
            assert means[row, column] == np.log10(of.mean)
    cells = len(found.tensors)
    assert (~np.ma.getmaskarray(entropies)).sum() == cells
    assert (~np.ma.getmaskarray(means)).sum() == cells - 1, "no logarithm of a mean of 0"


@pytest.mark.parametrize(("name", "panels"), [("tinylm-f32", 3), ("deepseek_v3", 4)])
def test_experts_have_a_panel(figures: list[Figure], name: str, panels: int) -> None:
    draw(statistics_of(f"{name}.imatrix.gguf"), name, ".svg")
    assert len(figures[0].axes) == 2 * panels


@pytest.mark.parametrize("layers", [1, 2, 126])
def test_models_of_any_depth(figures: list[Figure], layers: int) -> None:
    found = statistics(layers, ["attn_q", "ffn_down"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert draw(found, "title", ".png").startswith(b"\x89PNG")
    width, height = figures[0].get_size_inches()
    assert width < 20
    assert height < 20
    labels = [label.get_text() for label in figures[0].axes[3].get_yticklabels()]
    assert labels[:2] == (["0", "5"] if layers == 126 else ["0", "1"])[: len(labels)]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_figures_give_the_same_bytes(suffix: str) -> None:
    found = statistics_of("unreached.imatrix.gguf")
    assert draw(found, "title", suffix) == draw(found, "title", suffix)


def test_names_of_strangers() -> None:
    """A formula that is none, a script that the font lacks, a name without end: drawn, without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = draw(statistics(2, ["$\\frac$", "重み", "x" * 400]), "$\\bad{$ 行列.gguf " + "y" * 400, ".svg")
    assert ElementTree.fromstring(data.decode()).tag.endswith("svg")


def test_too_much_to_draw() -> None:
    with pytest.raises(InputError, match="2,000 layers of 1 kinds"):
        draw(statistics(2000, ["attn_q"]), "title", ".png")
    with pytest.raises(InputError, match="1 layers of 300 kinds"):
        draw(statistics(1, [f"k{n}" for n in range(300)]), "title", ".png")


def test_files(tmp_path: Path) -> None:
    found = statistics(2, ["attn_q"])
    (tmp_path / "p.svg").write_text("older")
    for suffix in (".svg", ".png"):
        write_plot(str(tmp_path / f"p{suffix}"), found, "title")
        assert (tmp_path / f"p{suffix}").read_bytes() == draw(found, "title", suffix)
    with pytest.raises(InputError, match=r"p\.pdf: a plot is an \.svg or a \.png file"):
        write_plot(str(tmp_path / "p.pdf"), found, "title")


def test_commands_that_draw_nothing_do_not_import_matplotlib() -> None:
    code = "import sys, ggufactory.cli.commands; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

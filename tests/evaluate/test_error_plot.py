"""Heat maps of errors: every rung and kind is in them, whatever the model's shape, and they are the same every time."""

from __future__ import annotations

import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ggufactory.evaluate.error_map import error_map, place_of_tensor
from ggufactory.evaluate.error_plot import draw_errors
from ggufactory.evaluate.plot_paper import PAPER
from measured_targets import DENSE, made_errors, recorded_rungs

EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_down_shexp", "attn_kv_a_mqa")
SHAPES = [(1, 1, DENSE[:1]), (3, 5, DENSE), (27, 5, DENSE), (3, 61, EXPERTS), (2, 126, DENSE), (27, 61, EXPERTS)]


def ladder(rungs: int, layers: int, kinds: tuple[str, ...]) -> list[tuple[str, dict[str, float]]]:
    names = list(recorded_rungs())[:rungs]
    return [(name, made_errors(0.004 * 1.2**number, layers, kinds)) for number, name in enumerate(names)]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("blk.12.attn_q.weight", (12, "attn_q")),
        ("blk.0.ffn_down_exps.weight", (0, "ffn_down_exps")),
        ("token_embd.weight", (None, "token_embd")),
        ("enc.blk.3.attn_k.weight", (3, "enc.attn_k")),
        ("blk.1.attn_q.bias", (1, "attn_q.bias")),
        ("blk.x.attn_q.weight", (None, "blk.x.attn_q")),
        ("", (None, "")),
    ],
)
def test_where_a_tensor_belongs(name: str, wanted: tuple[int | None, str]) -> None:
    assert place_of_tensor(name) == wanted


def test_the_table() -> None:
    found = error_map(
        [
            ("A", {"blk.1.ffn_up.weight": 0.1, "blk.3.attn_q.weight": 0.2, "token_embd.weight": 0.3}),
            ("B", {"output.weight": 0.4}),
        ]
    )
    assert found is not None
    assert (found.rungs, found.layers) == (("A", "B"), (1, 2, 3))
    assert found.kinds == ("token_embd", "attn_q", "ffn_up", "output")
    gap = np.nan
    wanted = [[0.3] * 3, [gap, gap, 0.2], [0.1, gap, gap], [gap] * 3]
    np.testing.assert_array_equal(found.tables[0], wanted)
    np.testing.assert_array_equal(found.tables[1], [[gap] * 3] * 3 + [[0.4] * 3])


def test_no_picture_of_what_no_model_is() -> None:
    assert error_map([]) is None
    assert error_map([("A", {})]) is None
    assert error_map([("A", {"blk.0.x.weight": 1.0, "blk.999999.x.weight": 1.0})]) is None
    assert error_map([("A", {f"kind{n}": 1.0 for n in range(61)})]) is None
    assert error_map([(str(n), {"x": 1.0}) for n in range(65)]) is None


@pytest.mark.parametrize(("rungs", "layers", "kinds"), SHAPES)
def test_every_rung_and_kind_is_named(rungs: int, layers: int, kinds: tuple[str, ...]) -> None:
    figures = ladder(rungs, layers, kinds)
    errors = error_map(figures)
    assert errors is not None
    drawn = draw_errors(errors, "title", ".svg").decode()
    # In matplotlib's SVG, text is drawn as outlines with the words in a comment.
    words = re.findall(r"<!-- (.+?) -->", drawn)
    for name, _ in figures:
        assert words.count(name) == 1, name
    for kind in errors.kinds:
        assert kind in words
    assert drawn.count("<image") == rungs + 1, "a map for each, and the colour bar"
    width = float(re.search(r'<svg[^>]* width="([\d.]+)pt"', drawn)[1])  # type: ignore[index]
    assert width <= 10 * 72


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_every_time(suffix: str) -> None:
    errors = error_map(ladder(2, 3, DENSE))
    assert errors is not None
    first = draw_errors(errors, "title $x$ \x01\ud800", suffix, "told")
    assert first == draw_errors(errors, "title $x$ \x01\ud800", suffix, "told")
    assert b"told" in first


def test_one_scale_for_all_rungs_and_grey_for_what_was_not_quantized() -> None:
    errors = error_map([("A", {"x": 0.01}), ("B", {"x": 0.1}), ("C", {"y": 0.1})])
    assert errors is not None
    image = Image.open(BytesIO(draw_errors(errors, "", ".png"))).convert("RGB")
    found = {colour for _, colour in image.getcolors(1 << 20)}  # type: ignore[union-attr, misc]
    for wanted in ((0x44, 0x01, 0x54), (0xFD, 0xE7, 0x25), (0xDE, 0xDE, 0xDE)):
        assert wanted in found
    assert image.getpixel((0, 0)) == tuple(bytes.fromhex(PAPER[1:])), "paper of its own"


def test_errors_beyond_the_scale() -> None:
    errors = error_map([("A", {"x": 0.0, "y": 1e11, "z": 1e-30})])
    assert errors is not None
    assert draw_errors(errors, "", ".png")
    equal = error_map([("A", {"x": 0.0, "y": 0.0})])
    assert equal is not None
    assert draw_errors(equal, "", ".png")

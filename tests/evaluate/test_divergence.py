"""The figures of predictions against those that can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ggufactory.evaluate.divergence import Positions, compare, quality


def test_of_two_tokens() -> None:
    reference = torch.tensor([[0.75, 0.25], [0.5, 0.5]]).log()
    logits = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log() + 3  # logits may be shifted
    found = compare(reference, logits, torch.tensor([0, 1]))
    np.testing.assert_allclose(found.divergence, [0.5 * np.log(3), 0], atol=1e-7)
    np.testing.assert_allclose(found.negative_log_likelihood, [np.log(4), np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(found.reference_likelihood, [np.log(4 / 3), np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(found.probability_change, [-0.5, 0], atol=1e-7)
    assert found.same_top.tolist() == [0, 1]


def test_many_positions_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    reference, logits = (torch.randn(50, 7, generator=generator) for _ in range(2))
    came = torch.randint(7, (50,), generator=generator)
    whole = compare(reference, logits, came)
    monkeypatch.setattr("ggufactory.evaluate.divergence._BLOCK_NUMBERS", 21)
    blocks = compare(reference, logits, came)
    np.testing.assert_array_equal(whole.divergence, blocks.divergence)
    np.testing.assert_array_equal(whole.same_top, blocks.same_top)


def test_what_is_told_of_positions() -> None:
    likelihood = np.linspace(1, 3, 21)
    divergence = np.arange(21) / 10
    found = quality(
        Positions(likelihood, likelihood / 2, divergence, np.full(21, -0.5), (np.arange(21) < 7).astype(float))
    )
    assert found.perplexity == pytest.approx(np.exp(2))
    assert found.perplexity_error == pytest.approx(np.exp(2) * likelihood.std() / np.sqrt(20))
    assert found.reference_perplexity == pytest.approx(np.e)
    assert (found.kld_mean, found.kld_median, found.kld_max) == pytest.approx((1, 1, 2))
    assert (found.kld_99, found.kld_99_9) == pytest.approx((1.98, 1.998))
    assert found.same_top == pytest.approx(1 / 3)
    assert found.rms_probability_change == pytest.approx(0.5)

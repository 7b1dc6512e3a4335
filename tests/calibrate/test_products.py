"""Products in BF16 on a processor without instructions for it, and the likelihood that the head gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from ggufactory.calibrate import likelihood, products
from ggufactory.calibrate.likelihood import negative_log_likelihood
from ggufactory.calibrate.products import Products
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.checkpoint import open_checkpoint


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


PRODUCTS = [
    pytest.param(functional.linear, lambda x, w, b: ((x, w, b), {}), lambda x, w, b: x @ w.T + b, id="linear"),
    pytest.param(functional.linear, lambda x, w, b: ((x, w), {"bias": b}), lambda x, w, b: x @ w.T + b, id="named"),
    pytest.param(torch.matmul, lambda x, w, b: ((x, w.T), {}), lambda x, w, b: x @ w.T, id="matmul"),
    pytest.param(torch.addmm, lambda x, w, b: ((b, x, w.T), {}), lambda x, w, b: x @ w.T + b, id="addmm"),
]


@pytest.mark.parametrize(("product", "arguments", "exact"), PRODUCTS)
def test_bfloat16_is_rounded_once(monkeypatch: pytest.MonkeyPatch, product: Any, arguments: Any, exact: Any) -> None:
    monkeypatch.setattr(products, "_multiplies_bfloat16", lambda: False)
    operands = [tensor.bfloat16() for tensor in (_random(7, 300), _random(5, 300), _random(5))]
    args, kwargs = arguments(*operands)
    with Products():
        found = product(*args, **kwargs)
    wanted = exact(*(tensor.double() for tensor in operands))
    assert found.dtype is torch.bfloat16
    # Half a unit of the last place of eight bits, and what single precision loses.
    assert ((found.double() - wanted).abs() <= wanted.abs() * 2**-8 + 1e-4).all()


@pytest.mark.parametrize(("dtype", "native"), [(torch.float32, False), (torch.bfloat16, True)])
def test_other_products_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, native: bool) -> None:
    monkeypatch.setattr(products, "_multiplies_bfloat16", lambda: native)
    monkeypatch.setattr(products, "_widened", lambda argument: pytest.fail("widened"))
    with Products():
        assert (_random(2, 3).to(dtype) @ _random(3, 2).to(dtype)).dtype is dtype


@pytest.mark.parametrize("keeps", [True, False])
def test_the_likelihood_is_that_of_all_logits(monkeypatch: pytest.MonkeyPatch, tinylm: str, keeps: bool) -> None:
    """Whether the model's code can leave logits out or not, and with chunks that go through the head by twos."""
    monkeypatch.setattr(likelihood, "_TOKENS", 20)
    model = StreamedModel(open_checkpoint(tinylm), torch.float32)
    assert model._keeps_logits
    model._keeps_logits = keeps
    tokens = torch.randint(0, 2048, (5, 9), generator=torch.Generator().manual_seed(1))
    hidden = _random(5, 9, model.width)
    with model.head():
        found, predicted = negative_log_likelihood(model, tokens, hidden)
        logits = model.logits(tokens, hidden, keep=9).double()
    wanted = -logits.log_softmax(-1)[:, 4:-1].gather(-1, tokens[:, 5:, None]).sum()
    assert predicted == 5 * 4
    assert found == pytest.approx(float(wanted), rel=1e-6)

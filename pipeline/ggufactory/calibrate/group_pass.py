"""One group of chunks through one layer, or through the head."""

from __future__ import annotations

import torch

from ggufactory.calibrate.activations import ActivationWatch
from ggufactory.calibrate.collected import Collected
from ggufactory.calibrate.latent_attention import LatentAttention
from ggufactory.calibrate.streamed_model import StreamedModel
from ggufactory.errors import InputError


def through_layer(
    model: StreamedModel, layer: int, hidden: torch.Tensor, first_chunk: int
) -> tuple[torch.Tensor, Collected]:
    """The output of a layer that has its weights for `hidden` [chunks, context, width], and the sums of its inputs,
    rounded to single precision.

    InputError where the output is not finite, naming the layer and the chunk. `first_chunk`: of the group, in the text.
    """
    latent = LatentAttention(model.config) if getattr(model.config, "kv_lora_rank", None) else None
    watch = ActivationWatch(
        model.parameters(layer),
        also=latent.after_product if latent else None,
        other_products=latent.other_product if latent else None,
    )
    call = model.calls(hidden.shape[0], hidden.shape[1])[layer]
    with watch:
        output = model.run_layer(layer, hidden, call)
    if not torch.isfinite(output).all():
        bad = int((~torch.isfinite(output)).flatten(1).any(dim=1).nonzero()[0])
        raise InputError(
            f"layer {layer}: the output of chunk {first_chunk + bad} is not finite",
            fix="Calibrate in float32 (--compute-dtype float32), or with other text",
        )
    found = Collected({name: sums.rounded() for name, sums in watch.taken().items()})
    if latent:
        keys, values = latent.taken()
        found.latent[layer] = keys.rounded(), values.rounded()
    return output, found


def through_head(model: StreamedModel, tokens: torch.Tensor, hidden: torch.Tensor) -> Collected:
    """How likely the model finds `tokens` [chunks, context], over the second half of each chunk's positions, as
    llama-imatrix does."""
    half = tokens.shape[1] // 2
    logits = model.logits(tokens, hidden)[:, half:-1].double()
    likelihood = torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, half + 1 :, None])
    return Collected(likelihoods=[-float(likelihood.sum())], predicted=likelihood.numel())

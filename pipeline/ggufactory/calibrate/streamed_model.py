"""A transformers model of which one layer at a time has weights: the rest stays on the meta device.

The model's own code runs, never a checkpoint's. Its layers are replaced by stand-ins: a first pass over a chunk
records what the model hands to each layer (positions, masks), and each layer is then called by itself with
what was recorded, so that a layer's weights are read once for all chunks. Weights go through transformers'
own renaming and conversion of checkpoints, a parameter at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    convert_and_load_state_dict_in_model,
    rename_source_key,
)
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import LoadStateDictConfig
from transformers.utils.logging import disable_progress_bar

from ggufactory.architectures.nvfp4_scales import without_scales
from ggufactory.calibrate.heap import release_freed_memory
from ggufactory.calibrate.outside_layers import OutsideLayers, check_names
from ggufactory.calibrate.products import Products
from ggufactory.calibrate.stand_ins import LayerCall, Recorded, StandIns
from ggufactory.calibrate.text_part import name_in_text_part, text_part
from ggufactory.calibrate.unusual import settle, stored_as
from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.packing import unpacked
from ggufactory.checkpoint.packing.scalars import read_scalars
from ggufactory.checkpoint.weight_tensor import WeightTensor
from ggufactory.checkpoint.whole_rows import read_whole
from ggufactory.errors import InputError
from ggufactory_kernels import dequantize

_CPU = torch.device("cpu")
_SCALE = ".weight_scale_2"
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class StreamedModel:
    """The causal model of a checkpoint. `dtype`: what it computes in; `device`: where a layer has its weights and
    computes. Hidden states are given and taken on the CPU.

    InputError where transformers has no such model, or its layers cannot be told apart.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device = _CPU) -> None:
        logging.getLogger("transformers").setLevel(logging.ERROR)
        disable_progress_bar()  # type: ignore[no-untyped-call]
        self._checkpoint = checkpoint
        raw = checkpoint.read_json("config.json") or {}
        self._weights, scales = without_scales(unpacked(checkpoint, raw))
        self._scales = read_scalars(checkpoint, [t for name, t in scales.items() if name.endswith(_SCALE)])
        self.config = _configuration(raw, self._weights)
        self.dtype = dtype
        self.device = device
        self.bytes_read = 0
        """Of the checkpoint's tensors, so far."""
        self._calls: dict[tuple[int, int], list[LayerCall]] = {}
        self._model = _on_meta(self.config, dtype).eval().requires_grad_(False)
        self._keeps_logits = "logits_to_keep" in signature(self._model.forward).parameters
        self._materialize_buffers()
        self._layers_name, self._layers = _layers_of(self._model)
        self._stand_ins = StandIns(self._layers)
        self.targets = self._targets()
        """Of each tensor of the checkpoint: the parameter that it becomes, or becomes part of."""
        self._outside = OutsideLayers(self._model, self._layers_name, self.targets, self._load, device)

    @property
    def layer_count(self) -> int:
        return len(self._layers)

    @property
    def width(self) -> int:
        """Columns of hidden states."""
        found: int = self.config.get_text_config().hidden_size
        return found

    @property
    def largest_bytes(self) -> int:
        """Of the weights that are in memory together at most: a layer's, or a matrix outside of the layers."""
        of: dict[str, int] = {}
        for name, parameter in self._model.named_parameters():
            rest = name.removeprefix(f"{self._layers_name}.")
            part = rest.partition(".")[0] if rest != name else name
            of[part] = of.get(part, 0) + parameter.nbytes
        return max(of.values())

    @property
    def largest_parameter_bytes(self) -> int:
        """What a parameter may take a second time while transformers converts it."""
        found: int = max(parameter.nbytes for parameter in self._model.parameters())
        return found

    @property
    def sums_bytes(self) -> int:
        """Of the sums of all layers at most, in double precision."""
        found: int = sum(
            8 * parameter.shape[-1] * (parameter.shape[0] if parameter.dim() == 3 else 1)
            for layer in self._layers
            for parameter in layer.parameters()
            if parameter.dim() > 1
        )
        return found

    def parameters(self, layer: int) -> dict[str, nn.Parameter]:
        """A loaded layer's parameters, by their names in the whole model."""
        prefix = f"{self._layers_name}.{layer}."
        return {prefix + name: p for name, p in self._layers[layer].named_parameters()}

    def parameters_outside(self) -> dict[str, nn.Parameter]:
        """Those outside of the layers that have weights at present, by name."""
        named = self._model.named_parameters()
        inside = f"{self._layers_name}."
        return {name: p for name, p in named if not name.startswith(inside) and not p.is_meta}

    @torch.inference_mode()
    def calls(self, chunks: int, context: int) -> list[LayerCall]:
        """What each layer is called with beside hidden states [chunks, context, width]: positions and masks, which
        depend on the shape alone. Nothing is read for it."""
        if (chunks, context) not in self._calls:
            with self._outside.filled(lambda: False):
                recorded = self._forward(torch.zeros(chunks, context, dtype=torch.int64))
            self._calls[chunks, context] = recorded.calls
        return self._calls[chunks, context]

    @contextmanager
    def embedding(self) -> Iterator[None]:
        """Inside, `embed` has its weights."""
        with self._outside.filled(lambda: True):
            yield

    @torch.inference_mode()
    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The first layer's input for `tokens` [chunks, context]."""
        return self._forward(tokens).given[0].cpu()

    @torch.inference_mode()
    def run_layer(self, layer: int, hidden: torch.Tensor, call: LayerCall) -> torch.Tensor:
        """The layer's output for `hidden` [chunks, context, width]."""
        found = self._layers[layer](hidden.to(self.device), *call.args, **call.kwargs)
        output: torch.Tensor = found[0] if isinstance(found, tuple) else found
        return output.cpu()

    @contextmanager
    def head(self) -> Iterator[None]:
        """Inside, `logits` has its weights. What the model runs before its layers is not read: its result is not
        used."""
        self.calls(1, 2)  # says whether layers give tuples
        with self._outside.filled(lambda: self._stand_ins.reached), self._stand_ins.giving():
            yield

    @torch.inference_mode()
    def logits(self, tokens: torch.Tensor, hidden: torch.Tensor, keep: int) -> torch.Tensor:
        """Of the last `keep` positions, [chunks, keep, vocabulary], from the last layer's output for all, by the
        model's own head; on the device. Threads may call it at the same time."""
        only = {"logits_to_keep": keep} if self._keeps_logits else {}
        with self._stand_ins.gives(hidden.to(self.device)), Products():
            found: torch.Tensor = self._model(input_ids=tokens.to(self.device), use_cache=False, **only).logits
        return found[:, -keep:]

    def _forward(self, tokens: torch.Tensor) -> Recorded:
        """Up to the last layer."""
        while True:
            recorded = Recorded()
            with self._stand_ins.recording(recorded):
                self._model(input_ids=tokens.to(self.device), use_cache=False)
            if self._stand_ins.in_tuples or recorded.given[-1].shape == recorded.given[0].shape:
                return recorded
            # Whoever takes the first of a tensor for the first of a tuple gives its next layer less of it.
            self._stand_ins.in_tuples = True

    @contextmanager
    def layer(self, number: int) -> Iterator[None]:
        """Inside, the layer has its weights."""
        prefix = f"{self._layers_name}.{number}."
        self._load([name for name, target in self.targets.items() if target.startswith(prefix)])
        check_names([name for name, parameter in self.parameters(number).items() if parameter.is_meta])
        try:
            yield
        finally:
            self._layers[number].to("meta")
            release_freed_memory()

    def _load(self, names: Sequence[str]) -> None:
        """One parameter after the other: what transformers copies to convert it is its size, not the layer's."""
        by_target: dict[str, list[str]] = {}
        for name in names:
            by_target.setdefault(self.targets[name], []).append(name)
        for parts in by_target.values():
            self._load_parameter(parts)

    def _load_parameter(self, names: Sequence[str]) -> None:
        state = {}
        for name in names:
            as_name, tensor = stored_as(name_in_text_part(name), self._read(self._weights[name]))
            state[as_name] = tensor.to(self.device, self.dtype)
        loading = LoadStateDictConfig(
            dtype=self.dtype, weight_mapping=self._conversions(), device_map={"": str(self.device)}
        )
        info, _ = convert_and_load_state_dict_in_model(self._model, state, loading)
        if info.error_msgs or info.mismatched_keys or info.conversion_errors:
            raise InputError(
                f"{self._checkpoint.name}: its tensors do not fit transformers' model: "
                f"{sorted(map(str, [*info.mismatched_keys, *info.conversion_errors]))[:3]}"
            )

    def _read(self, weights: WeightTensor) -> torch.Tensor:
        source = weights.source
        if source is None:
            raise InputError(f"tensor {weights.name} is stored as {weights.dtype}, which is no model's type")
        out = read_whole(source, self._read_range)
        if source.dtype in _DTYPES:
            return torch.from_numpy(out).view(_DTYPES[source.dtype]).reshape(weights.shape)
        numbers = dequantize(out, source.dtype, source.columns)
        # What NVFP4 matrices are multiplied by as a whole; nothing else has it.
        if (scale := self._scales.get(weights.name.removesuffix(".weight") + _SCALE)) is not None:
            numbers *= np.float32(scale)
        return torch.from_numpy(numbers).reshape(weights.shape)

    def _read_range(self, file: str, offset: int, buffer: memoryview) -> None:
        self._checkpoint.store.read_into(file, offset, buffer, etag=self._checkpoint.files[file].etag)
        self.bytes_read += buffer.nbytes

    def _conversions(self) -> list[Any]:
        found: list[Any] = get_model_conversion_mapping(self._model)
        return found

    def _targets(self) -> Mapping[str, str]:
        conversions = self._conversions()
        renamings = [c for c in conversions if isinstance(c, WeightRenaming)]
        converters = [c for c in conversions if isinstance(c, WeightConverter)]
        known = self._model.state_dict()
        found = {}
        for name in self._weights:
            as_name, _ = stored_as(name_in_text_part(name), None)
            target, _ = rename_source_key(as_name, renamings, converters, self._model.base_model_prefix, known)
            if target not in known and as_name in known:
                target = as_name
            if target in known:
                found[name] = target
        return found

    def _materialize_buffers(self) -> None:
        """Rotary frequencies and the like, which no checkpoint has: as transformers makes them after loading."""
        for module in self._model.modules():
            if not any(buffer.is_meta for buffer in module.buffers(recurse=False)):
                continue
            for key, buffer in module.named_buffers(recurse=False):
                setattr(module, key, torch.empty_like(buffer, device=self.device))
            self._model._init_weights(module)


def _configuration(raw: dict[str, Any], stored: Collection[str]) -> Any:
    model_type = raw.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        raise InputError(f"config.json: transformers has no model of the type {model_type!r:.80}")
    config = CONFIG_MAPPING[model_type].from_dict({k: v for k, v in raw.items() if k != "quantization_config"})
    return settle(text_part(config, stored))


def _on_meta(config: Any, dtype: torch.dtype) -> Any:
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, attn_implementation="eager", experts_implementation="eager"
            )
    except ValueError as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(
            f"transformers has no model that predicts text for config.json of the type {config.model_type}: {reason}",
            fix="Make the importance matrix with llama-imatrix, and give it with --imatrix",
        ) from error


def _layers_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and all(isinstance(m, GradientCheckpointingLayer) for m in module):
            return name, module
    raise InputError(f"the layers of {type(model).__name__} cannot be told apart")

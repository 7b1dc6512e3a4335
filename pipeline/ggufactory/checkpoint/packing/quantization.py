"""How a checkpoint is packed, as its configuration files say.

Most say so in config.json (`quantization_config`). ModelOpt writes hf_quant_config.json, which llama.cpp's
converter reads too (`prepare_tensors` of conversion/base.py); older GPTQ and AWQ checkpoints have quantize_config.json
and quant_config.json instead, and older compressed-tensors ones `compression_config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ggufactory.checkpoint.checkpoint import Checkpoint
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

MODELOPT_FILE = "hf_quant_config.json"
OWN_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_NVFP4 = "NVFP4"
_WEIGHT_ONLY_NVFP4 = "W4A16_NVFP4"
MAX_SIZE = 1 << 20
"""Of blocks and groups."""
_KEYS = {"quantization_config": "", "compression_config": "compressed-tensors"}
"""Of config.json, and the method where none is named."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """What is said of a checkpoint's packing."""

    method: str
    """`quant_method`, in lower case; empty where it is not named."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything that stands beside it. From strangers: ask by the methods below."""
    file: str = "config.json"
    """Where it stands, for messages."""

    def integer(self, *keys: str, default: int | None = None, most: int) -> int:
        """The first of `keys` that is there. InputError: none (without `default`), or not in 1..`most`."""
        for key in keys:
            if self.settings.get(key) is not None:
                value = self.settings[key]
                if type(value) is int and 0 < value <= most:
                    return value
                raise self.fault(key, f"must be a number from 1 to {most}")
        if default is None:
            raise self.fault(keys[0], "is needed")
        return default

    def pair(self, key: str) -> tuple[int, int] | None:
        """Two numbers, rows and columns; None where there are none. InputError: something else."""
        value = self.settings.get(key)
        if value is None:
            return None
        if isinstance(value, list) and len(value) == 2 and all(type(n) is int and 0 < n <= MAX_SIZE for n in value):
            return value[0], value[1]
        raise self.fault(key, f"must be two numbers from 1 to {MAX_SIZE}")

    def group_size(self, *keys: str) -> int | None:
        """The first of `keys` that is there; None for -1 and where none is, which stands for a whole row.
        InputError as of `integer`."""
        if all(self.settings.get(key) in (-1, None) for key in keys):
            return None
        return self.integer(*keys, most=MAX_SIZE)

    def has_nvfp4(self) -> bool:
        """Whether ModelOpt's settings say that some or all weights are NVFP4."""
        layers = self.mapping("quantized_layers").values()
        return self.settings.get("quant_algo") in (_NVFP4, _WEIGHT_ONLY_NVFP4) or any(
            str(layer.get("quant_algo")).endswith(_NVFP4) for layer in layers if isinstance(layer, dict)
        )

    def weight_only(self, tensors: Iterable[str]) -> set[str]:
        """Those of the NVFP4 `tensors` whose activations ModelOpt's settings leave alone: by the entry of the module
        that is nearest to each, else by the whole checkpoint's (`_tag_prec_a4` of the reference)."""
        layers = self.mapping("quantized_layers")
        entries = {_without_prefix(name): entry for name, entry in layers.items() if isinstance(entry, dict)}
        found = set()
        for tensor in tensors:
            module = _without_prefix(tensor).removesuffix(".weight")
            while module and module not in entries:
                module = module.rpartition(".")[0]
            if entries.get(module, self.settings).get("quant_algo") == _WEIGHT_ONLY_NVFP4:
                found.add(tensor)
        return found

    def mapping(self, key: str) -> Mapping[str, Any]:
        """A JSON object; empty where there is none. InputError: something else."""
        value = self.settings.get(key) or {}
        if not isinstance(value, dict):
            raise self.fault(key, "must be an object")
        return value

    def part(self, key: str, settings: Any) -> Quantization:
        """The same for an object within: its own settings. InputError: `settings` is no object."""
        if not isinstance(settings, dict):
            raise self.fault(key, "must be an object")
        return Quantization(self.method, settings, f"{self.file}: {key}")

    def fault(self, key: str, what: str) -> InputError:
        return InputError(
            f"{self.file}: {key} of quantization method {clip(self.method)} {what}, "
            f"but is {clip(self.settings.get(key))}"
        )


def _without_prefix(name: str) -> str:
    """Of models that are part of one that sees or hears, as the reference drops it from all names."""
    return name.replace("language_model.", "")


def find_quantization(checkpoint: Checkpoint, config: Mapping[str, Any]) -> Quantization | None:
    """None for a checkpoint that is not packed. `config`: config.json. InputError: no sense in it."""
    found = _in_config(config)
    if found is None:
        for name, method in OWN_FILES.items():
            if (settings := checkpoint.read_json(name)) is not None:
                found = _quantization(settings, method, name)
    if MODELOPT_FILE in checkpoint.files:
        return _with_modelopt(found, checkpoint.read_json(MODELOPT_FILE) or {})
    return found


def _in_config(config: Mapping[str, Any]) -> Quantization | None:
    """The text model's own goes first: the reference lays it over the outer configuration."""
    inner = config.get("text_config")
    for settings in (inner if isinstance(inner, dict) else {}, config):
        for key, method in _KEYS.items():
            if settings.get(key):
                return _quantization(settings[key], method, "config.json")
    return None


def _quantization(settings: Any, method: str, file: str) -> Quantization:
    if not isinstance(settings, dict):
        raise InputError(f"{file}: the quantization's settings must be an object, but are {clip(settings)}")
    named = settings.get("quant_method") or method
    if not isinstance(named, str):
        raise InputError(f"{file}: quant_method must be a name, but is {clip(named)}")
    return Quantization(named.lower(), settings, file)


def _with_modelopt(found: Quantization | None, file: Mapping[str, Any]) -> Quantization:
    """What hf_quant_config.json adds, and what of config.json it overrides."""
    settings = dict(found.settings) if found else {}
    own = Quantization("", file, MODELOPT_FILE)
    if not settings.get("quant_algo") or not settings.get("quantized_layers"):
        said = own.mapping("quantization")
        settings |= {key: said[key] for key in _MODELOPT_KEYS if key in said}
    producer = own.mapping("producer").get("name") or ""
    method = found.method if found and found.method else str(producer).lower()
    return Quantization(method, settings, found.file if found else MODELOPT_FILE)


_MODELOPT_KEYS = ("quant_algo", "format", "config_groups", "quantized_layers")

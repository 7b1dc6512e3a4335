"""The `<architecture>.*` metadata that a family declares, over one resolved configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ggufactory.architectures.configuration import Config, block_count, first_of
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.rope import full_attention, rope_parameters


@dataclass(frozen=True, slots=True)
class Parameters:
    """Where a family writes its hyperparameters. Keys go without the architecture's name."""

    out: KeyValues
    architecture: str
    config: Config
    file_type: int
    """llama.cpp's number for the converter's output."""

    @property
    def block_count(self) -> int:
        return block_count(self.config)

    @property
    def rope(self) -> dict[str, Any]:
        """The rotary parameters, as the converter uses them."""
        return rope_parameters(self.config)

    @property
    def full_rope(self) -> dict[str, Any]:
        """Those of the layers that attend to everything."""
        return full_attention(self.rope)

    def first(self, *names: str) -> Any:
        """The value of the first of `names` that config.json has (null included), else None."""
        return first_of(self.config, *names)

    def text(self, key: str, value: object) -> None:
        self.out.text(self._key(key), value)

    def uint32(self, key: str, value: object) -> None:
        """Of a list, such as one number per layer, gguf-py makes an array of int32."""
        if isinstance(value, list):
            self.out.int32s(self._key(key), value)
        else:
            self.out.uint32(self._key(key), value)

    def float32(self, key: str, value: object) -> None:
        self.out.float32(self._key(key), value)

    def boolean(self, key: str, value: object) -> None:
        self.out.boolean(self._key(key), value)

    def texts(self, key: str, values: Sequence[object]) -> None:
        self.out.texts(self._key(key), values)

    def booleans(self, key: str, values: list[bool]) -> None:
        self.out.booleans(self._key(key), values)

    def _key(self, key: str) -> str:
        return f"{self.architecture}.{key}"

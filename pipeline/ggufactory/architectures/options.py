"""What a user may say about how a checkpoint is to be understood."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConversionOptions:
    """`exact_source`: quantize from the source's own numbers, where the usual way rounds them to BF16 first;
    `pre_tokenizer`: llama.cpp's name, for a byte-level tokenizer whose definition is not known."""

    exact_source: bool = False
    pre_tokenizer: str | None = None


USUAL = ConversionOptions()

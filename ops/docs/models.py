"""Write docs/models.md: what can be converted, from the tables that convert it.

python ops/docs/models.py
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from ggufactory import architectures
from ggufactory.architectures.family import Family
from ggufactory.architectures.tokenizer.pre_tokenizer_names import NAMES
from ggufactory.checkpoint.packing.unpacked import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "models.md"

_ABOUT = """\
# Models that can be converted

A checkpoint is a folder of safetensors files with a `config.json`: local, `s3://bucket/prefix` or `hf://org/name@revision`.
Its first entry of `architectures` says how it is read. Code that a checkpoint brings with it is never run; one that
asks for it works as long as its class is listed here. GGUF files are sources whatever their architecture.

This page is generated from the tables: `python ops/docs/models.py`.

## Architectures

| GGUF | Hugging Face classes | models |
|---|---|---|
"""

_PACKED = """
## Packed weights

Decoded while they are read, as `quantization_config` of config.json describes them; by `quant_method`: {methods}.
FP8 weights pass through BF16, as in the usual way over a converted file; with `--exact-source` they do not. MXFP4 and
NVFP4 weights are kept bit for bit where a rung keeps that type, and `--allow-requantize` makes other types of them.

## Tokenizers

SentencePiece models, byte-level BPE, BPE with byte fallback, WordPiece and unigram. A byte-level tokenizer has to split
text in a way that llama.cpp knows; it is recognized by its definition in tokenizer.json. Where it is not, name the way
with `--pre`: {names}.
"""


def page() -> str:
    """The page's whole text."""
    rows = [
        f"| `{family.architecture}` | {', '.join(f'`{name}`' for name in family.classes)} | {models} |"
        for models, family in sorted(_families(), key=lambda item: (item[1].architecture, item[1].classes))
    ]
    names = ", ".join(f"`{name}`" for name in sorted(NAMES))
    methods = ", ".join(f"`{name}`" for name in sorted(METHODS))
    return _ABOUT + "\n".join(rows) + "\n" + _PACKED.format(methods=methods, names=names)


def _families() -> Iterator[tuple[str, Family]]:
    """Every family, with how its file begins, up to a colon or the end of a sentence: the models that it is about."""
    for info in pkgutil.iter_modules(architectures.__path__):
        module = importlib.import_module(f"{architectures.__name__}.{info.name}")
        declared = [
            value for name, value in vars(module).items() if isinstance(value, Family) and _is_own(module, name)
        ]
        if info.name != "registry" and declared:
            about = re.split(r":|\.\s", str(module.__doc__))[0].replace("\n", " ")
            yield from ((about, family) for family in declared)


def _is_own(module: ModuleType, name: str) -> bool:
    """Whether the module gives the name a value, and does not import it."""
    return re.search(rf"^{name}\b.*=", inspect.getsource(module), re.MULTILINE) is not None


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

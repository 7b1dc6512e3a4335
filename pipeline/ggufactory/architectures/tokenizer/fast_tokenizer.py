"""tokenizer.json as transformers' AutoTokenizer loads it, without transformers.

AutoTokenizer (5.23: `TokenizersBackend.__init__`, `PreTrainedTokenizerBase._from_pretrained`) reads
tokenizer.json, and adds the tokens that tokenizer_config.json and its older companions name. What the
tokens are to be added to, or removed from, a text is left as tokenizer.json has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tokenizers import AddedToken, Tokenizer

from ggufactory.architectures.tokenizer.files import (
    JsonObject,
    TokenizerFiles,
    added_tokens_decoder,
    object_at,
    objects_at,
    token_id,
)
from ggufactory.architectures.tokenizer.tokenizer_class import class_special_tokens
from ggufactory.checkpoint.json_object import clip
from ggufactory.errors import InputError

NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FastTokenizer:
    """A loaded tokenizer.json with every added token."""

    tokenizer: Tokenizer
    ids: Mapping[str, int]
    """Of every token, added ones included."""
    base_size: int
    """Tokens without the added ones."""
    added: Mapping[int, AddedToken]
    special: Sequence[str]
    """The tokens that the configuration names as special."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return guarded(lambda: self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: list[int]) -> str:
        return guarded(lambda: self.tokenizer.decode(ids, skip_special_tokens=False))


def load_fast_tokenizer(files: TokenizerFiles) -> FastTokenizer:
    """InputError where there is no tokenizer.json, it cannot be loaded, or an added token makes no sense."""
    if files.tokenizer is None:
        raise InputError(
            f"checkpoint {files.checkpoint.name} has no tokenizer.json",
            fix="Copy the tokenizer's files into its folder",
        )
    class_names = class_special_tokens(files)
    tokenizer = _load(files, added_tokens=class_names is None)
    standard, own, unnamed = _special_tokens(files, class_names or {})
    named = [*standard, *own]
    tokens = _configured_tokens(files, {*standard, *unnamed})
    for token in tokens:
        if token.content in named:
            token.special = True
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    known |= {token.content for token in tokens}
    special = list(dict.fromkeys((*named, *unnamed)))
    tokens += [AddedToken(text, special=True) for text in special if text not in known]
    guarded(lambda: tokenizer.add_tokens(tokens))
    return FastTokenizer(
        tokenizer,
        ids=tokenizer.get_vocab(with_added_tokens=True),
        base_size=tokenizer.get_vocab_size(with_added_tokens=False),
        added=tokenizer.get_added_tokens_decoder(),
        special=special,
    )


def _load(files: TokenizerFiles, *, added_tokens: bool) -> Tokenizer:
    """`added_tokens`: whether with those of tokenizer.json."""
    model = object_at(files.tokenizer or {}, "model", "tokenizer.json")
    if model.get("type") != "WordPiece" and model.get("continuing_subword_prefix"):
        # Neither llama.cpp's merges nor, where it is longer than a token, the tokenizers library can have one.
        raise InputError("tokenizer.json: tokens with a continuing_subword_prefix are not supported")
    data = files.checkpoint.read_file("tokenizer.json")
    assert data is not None, "tokenizer.json"
    text = data.decode() if added_tokens else json.dumps({**(files.tokenizer or {}), "added_tokens": []})
    tokenizer = guarded(lambda: Tokenizer.from_str(text))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def guarded(call: Callable[[], Result]) -> Result:
    """Run a call into the tokenizers library on a stranger's file; InputError where it fails or panics."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the library raises plain Exception
        raise InputError(f"tokenizer.json cannot be used: {clip(str(error), 200)}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(f"tokenizer.json cannot be used: {clip(str(error), 200)}") from None


def _configured_tokens(files: TokenizerFiles, special: set[str]) -> list[AddedToken]:
    """The tokens of tokenizer_config.json's `added_tokens_decoder`, by id: they replace what tokenizer.json
    says about the same texts. In old checkpoints, those of added_tokens.json and tokenizer.json."""
    found: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in files.tokenizer_config:
        for number, entry in added_tokens_decoder(files):
            found[number] = _added_token(entry, "tokenizer_config.json, added_tokens_decoder")
    else:
        for text, value in files.added_tokens.items():
            number = token_id(value, f"added_tokens.json, {clip(text)}")
            found[number] = AddedToken(text, normalized=text not in special, special=text in special)
        where = "tokenizer.json, added_tokens"
        for entry in objects_at(files.tokenizer or {}, "added_tokens", "tokenizer.json"):
            found[token_id(entry.get("id"), where)] = _added_token(entry, where)
    return [found[number] for number in sorted(found)]


def _added_token(entry: JsonObject, where: str) -> AddedToken:
    content = entry.get("content")
    flags = {name: entry[name] for name in _FLAGS if name in entry}
    if not isinstance(content, str) or not all(isinstance(flag, bool) for flag in flags.values()):
        raise InputError(f"{where}: {clip(entry)} is no added token")
    return AddedToken(content, **flags)


def _special_tokens(files: TokenizerFiles, class_names: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """The texts of special tokens: those in `NAMED_TOKENS`, those with a name of their own, those without."""
    config = dict(class_names) | dict(files.tokenizer_config)
    if "added_tokens_decoder" not in files.tokenizer_config:
        config |= files.special_tokens_map
    standard = [config.get(name) for name in NAMED_TOKENS]
    own = [config[name] for name in config if name.endswith("_token") and name not in NAMED_TOKENS]
    extra = config.get("extra_special_tokens")
    unnamed = config.get("additional_special_tokens")
    if isinstance(extra, dict):
        own += extra.values()
    elif extra:
        unnamed = extra
    unnamed = unnamed if isinstance(unnamed, list) else []
    return _contents(standard), _contents(own), _contents(unnamed)


def _contents(tokens: Sequence[object]) -> list[str]:
    texts = (token.get("content") if isinstance(token, dict) else token for token in tokens)
    return [text for text in texts if isinstance(text, str)]

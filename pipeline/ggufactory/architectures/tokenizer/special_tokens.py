"""Which tokens begin and end a text, and whether the tokenizer adds them.

Ids come from tokenizer_config.json (through the added tokens of tokenizer.json), then from config.json;
what is added is read off the post-processor of tokenizer.json. Source: `SpecialVocab` of gguf-py's
vocab.py, whose guesses this repeats one by one.
"""

from __future__ import annotations

from collections.abc import Mapping

from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.tokenizer.chat_template import add_chat_template
from ggufactory.architectures.tokenizer.files import JsonObject, TokenizerFiles, object_at, objects_at, token_id
from ggufactory.architectures.tokenizer.post_processor import PostProcessor

KINDS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_ID_KEYS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",
    "pad": "tokenizer.ggml.padding_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
    "eot": "tokenizer.ggml.eot_token_id",
    "eom": "tokenizer.ggml.eom_token_id",
}
_ADD_KEYS = {
    "bos": "tokenizer.ggml.add_bos_token",
    "eos": "tokenizer.ggml.add_eos_token",
    "sep": "tokenizer.ggml.add_sep_token",
}


def add_special_tokens(
    out: KeyValues,
    files: TokenizerFiles,
    *,
    tokens: int | None = None,
    kinds: tuple[str, ...] = KINDS,
    defaults: Mapping[str, int] | None = None,
) -> None:
    """The ids of special tokens, what is added, the chat template, and what the normalizer does.

    `tokens`: the vocabulary's size where ids beyond it are to be left out. `defaults`: ids by kind where
    no file has one.
    """
    special = SpecialTokens(files, kinds, tokens)
    for kind, number in (defaults or {}).items():
        special.set_id(kind, number, "")
    for kind, number in special.ids.items():
        if kind in _ID_KEYS:
            out.uint32(_ID_KEYS[kind], number)
    for kind, added in special.adds.items():
        if kind in _ADD_KEYS:
            out.boolean(_ADD_KEYS[kind], added)
    add_chat_template(out, files)
    for flag, value in special.normalizer.items():
        if value is not None:
            out.boolean(f"tokenizer.ggml.normalizer.{flag}", value)


class SpecialTokens:
    """What the files say. All dictionaries are in the order in which the reference finds their entries."""

    def __init__(self, files: TokenizerFiles, kinds: tuple[str, ...], tokens: int | None) -> None:
        self.ids: dict[str, int] = {}
        self.adds: dict[str, bool] = {}
        self.normalizer: dict[str, object] = {"lowercase": None, "strip_accents": None}
        self._kinds = list(kinds)
        self._tokens = tokens
        self._config = dict(files.tokenizer_config)
        added: list[JsonObject] = []
        if files.tokenizer:
            self._read_normalizer(object_at(files.tokenizer, "normalizer", "tokenizer.json"))
            added = objects_at(files.tokenizer, "added_tokens", "tokenizer.json")
            processor = PostProcessor(self._config, self._kinds)
            if post := object_at(files.tokenizer, "post_processor", "tokenizer.json"):
                processor.read(post)
            self.adds |= processor.adds
        if self._config:
            self._read_tokenizer_config(added)
        text_config = object_at(files.config, "text_config", "config.json")
        for kind in self._kinds:
            name = f"{kind}_token_id"
            found = files.config.get(name)
            self.set_id(kind, text_config.get(name) if found is None else found, "config.json")

    def set_id(self, kind: str, value: object, where: str) -> None:
        """The first id of a kind counts. Lists and nulls are passed over, as in the reference."""
        if value is None or not isinstance(value, int):
            return
        number = token_id(value, f"{where}, {kind}_token_id")
        if self._tokens is None or number < self._tokens:
            self.ids.setdefault(kind, number)

    def _read_tokenizer_config(self, added: list[JsonObject]) -> None:
        for kind in self._kinds:
            flag = self._config.get(f"add_{kind}_token")
            if isinstance(flag, bool):
                self.adds.setdefault(kind, flag)
            token = self._config.get(f"{kind}_token")
            content = token.get("content") if isinstance(token, dict) else token
            if isinstance(content, str):
                found = next((a.get("id") for a in added if a.get("content") == content), None)
                self.set_id(kind, found, "tokenizer.json")

    def _read_normalizer(self, normalizer: JsonObject) -> None:
        kind = normalizer.get("type")
        if kind == "Lowercase":
            self.normalizer["lowercase"] = True
        elif kind == "StripAccents":
            self.normalizer["strip_accents"] = True
        elif kind == "BertNormalizer":
            flags = (name for name in ("lowercase", "strip_accents") if name in normalizer)
            self.normalizer |= {name: normalizer[name] for name in flags}
        elif kind == "Sequence":
            for step in objects_at(normalizer, "normalizers", "tokenizer.json, normalizer"):
                self._read_normalizer(step)

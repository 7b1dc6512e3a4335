"""What the post-processor of tokenizer.json says about the tokens around a text.

The guesses of `SpecialVocab._try_load_from_tokenizer_json` in gguf-py's vocab.py, one by one: right for
the templates that occur, and equal to the reference for those that do not.
"""

from __future__ import annotations

from typing import Any

from ggufactory.architectures.tokenizer.files import JsonObject, object_at, objects_at

_WHERE = "tokenizer.json, post_processor"


class PostProcessor:
    """Reads one post-processor. Changes `config` (tokenizer_config.json) and `kinds` as the reference does,
    even before there is anything to read."""

    def __init__(self, config: dict[str, Any], kinds: list[str]) -> None:
        self.adds: dict[str, bool] = {}
        self._config = config
        self._kinds = kinds
        self._has_config = bool(config)
        self._bos = config.get("bos_token")
        self._cls = config.get("cls_token")
        self._eos = config.get("eos_token")
        self._sep = config.get("sep_token")
        if not self._bos and self._cls:
            self._bos = config["bos_token"] = self._cls
        if not self._eos and self._sep:
            self._eos = config["eos_token"] = self._sep

    def read(self, post: JsonObject) -> None:
        steps = objects_at(post, "processors", _WHERE) if "processors" in post else [post]
        for step in steps:
            kind = step.get("type")
            if kind == "ByteLevel":
                self.adds.setdefault("bos", False)
                self.adds.setdefault("eos", False)
            elif kind == "RobertaProcessing":
                self._read_roberta(step)
            elif kind == "TemplateProcessing":
                self._read_template(step)

    def _read_roberta(self, step: JsonObject) -> None:
        self.adds |= {"bos": True, "eos": True, "sep": True}
        if not self._cls and self._has_config:
            self._cls = self._config["cls_token"] = _first(step.get("cls"), self._bos)
        if not self._sep and self._has_config:
            self._sep = self._config["sep_token"] = _first(step.get("sep"), self._eos)

    def _read_template(self, step: JsonObject) -> None:
        single = objects_at(step, "single", _WHERE)
        first = _special(single[0]) if len(single) > 1 else None
        last = _special(single[-1]) if len(single) > 1 else None
        if first:
            self._note_first(first)
            self.adds["bos"] = first in (self._bos, self._cls)
        if last:
            self._note_last(last)
            self.adds["eos"] = True
        pair = objects_at(step, "pair", _WHERE)
        if pair:
            self._read_pair(pair, first, last)

    def _note_first(self, first: str) -> None:
        if not self._has_config:
            self._bos = first
        elif first not in (self._bos, self._cls):
            if not self._bos:
                self._bos = self._config["bos_token"] = first
            if not self._cls:
                self._cls = self._config["cls_token"] = first

    def _note_last(self, last: str) -> None:
        """The token that ends a text here is the end; the one the configuration names ends a turn."""
        if self._has_config and last != self._eos:
            kind = next((kind for kind in ("eot", "eom") if kind not in self._kinds), None)
            if kind is not None:
                self._kinds.append(kind)
                self._config[f"{kind}_token"] = self._eos
            self._config["eos_token"] = last
        self._eos = last

    def _read_pair(self, pair: list[JsonObject], first: str | None, last: str | None) -> None:
        start = 1 if first and _special(pair[0]) == first else 0
        stop = -1 if last and _special(pair[-1]) == last else None
        pair = pair[start:stop]
        if not pair or (_sequence(pair[0]), _sequence(pair[-1])) != ("A", "B") or not pair[1:-1]:
            return
        between = [_special(item) for item in pair[1:-1]]
        separators = (self._sep, self._eos)
        added = bool(between[0]) and between[0] in separators and not last
        if len(between) == 2 and between[1] and between[1] in separators:
            added = True
        self.adds["sep"] = added
        if added and not self._sep and self._has_config:
            self._config["sep_token"] = self._eos


def _special(item: JsonObject) -> str | None:
    """The token of a template's item, None where it is none."""
    found = object_at(item, "SpecialToken", _WHERE).get("id")
    return found if isinstance(found, str) else None


def _sequence(item: JsonObject) -> object:
    return object_at(item, "Sequence", _WHERE).get("id")


def _first(pair: object, fallback: object) -> object:
    return pair[0] if isinstance(pair, list) and pair else fallback

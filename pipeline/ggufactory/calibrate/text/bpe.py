"""Tokens by merges: byte-pair vocabularies (`tokenizer.ggml.model` "gpt2" and "gemma4").

Source: `llm_tokenizer_bpe_session` of llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from ggufactory.calibrate.text.merging import Seams, merged
from ggufactory.calibrate.text.pre_tokenizers import PreTokenizer
from ggufactory.calibrate.text.splitting import split
from ggufactory.calibrate.text.vocabulary import Vocabulary
from ggufactory.errors import InputError

_SPACE = "\u2581"
_SPELLED_AS_THEY_ARE = frozenset((*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)))
_UNSPELLED = [byte for byte in range(256) if byte not in _SPELLED_AS_THEY_ARE]
_SPELLING = {byte: 256 + place for place, byte in enumerate(_UNSPELLED)}
"""GPT-2's characters for the bytes that are no visible Latin-1 character."""


class MergedBytes:
    def __init__(self, vocabulary: Vocabulary, pre_tokenizer: PreTokenizer) -> None:
        """InputError for a vocabulary without merges."""
        merges = vocabulary.merges()
        if merges is None and vocabulary.text("pre") != "kimi-k2":
            raise InputError("the model's metadata has no tokenizer.ggml.merges, which its vocabulary needs")
        self._ids = vocabulary.ids
        self._ranks: dict[tuple[str, str], int] = {}
        for rank, merge in enumerate(merges or ()):
            if isinstance(merge, str) and (at := merge.find(" ", 1)) > 0:
                self._ranks.setdefault((merge[:at], merge[at + 1 :]), rank)
        self._pre_tokenizer = pre_tokenizer
        self._seams = Seams(left[-1] + right[0] for left, right in self._ranks if left and right)
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, *, after_token: bool) -> list[int]:
        """`after_token` makes no difference to this kind."""
        if not self._pre_tokenizer.byte_level:
            text = text.replace(" ", _SPACE)
        found: list[int] = []
        for word in split(text, self._pre_tokenizer.steps):
            if word not in self._known:
                self._known[word] = self._tokens_of(word)
            found += self._known[word]
        return found

    def _tokens_of(self, word: str) -> list[int]:
        if self._pre_tokenizer.byte_level:
            word = word.encode().decode("latin-1").translate(_SPELLING)
        whole = self._ids.get(word)
        line_ends = self._pre_tokenizer.is_gemma_4 and not word.strip("\n")
        if whole is not None and (self._pre_tokenizer.ignore_merges or line_ends):
            return [whole]
        found: list[int] = []
        for part in self._seams.cut(word):
            for symbol in merged(part, self._rank):
                token = self._ids.get(symbol)
                found += self._bytes(symbol) if token is None else [token]
        return found

    def _rank(self, left: str, right: str) -> float | None:
        return self._ranks.get((left, right))

    def _bytes(self, symbol: str) -> list[int]:
        """Bytes that have no token are left out, as there."""
        if self._pre_tokenizer.byte_level:
            texts = [chr(byte) if byte < 0x80 else bytes((byte,)) for byte in symbol.encode()]
        else:
            texts = [f"<0x{byte:02X}>" for byte in symbol.encode()]
        return [self._ids[text] for text in texts if text in self._ids]

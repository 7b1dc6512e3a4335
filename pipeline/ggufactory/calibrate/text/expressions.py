r"""What llama.cpp's byte-pair vocabularies split texts by.

Source: `llm_tokenizer_bpe` of llama.cpp's src/llama-vocab.cpp. `\p{…}` stands between brackets here. As
there, an expression with a category tells letters beyond ASCII not apart by case, and any other names
single characters.
"""

from __future__ import annotations

_CONTRACTION = "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_WORD = rf"{_LEAD}[\p{{L}}]+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SIGNS_AND_SLASHES = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_SPACE = r"\s+(?!\S)|\s+"
_LINES = rf"\s*[\r\n]+|{_SPACE}"

DIGIT = r"[\p{N}]"
DIGITS = r"[\p{N}]+"
UP_TO_3_DIGITS = r"[\p{N}]{1,3}"
THREE_ASCII_DIGITS = "[0-9][0-9][0-9]"
LINES_APART = r"[^\n]+|[\n]+"
LINE_ENDS = r"[\r\n]"

GPT_2 = r"'(?:[sdmt]|ll|ve|re)| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA_3 = rf"{_CONTRACTION}|{_WORD}|{UP_TO_3_DIGITS}|{_SIGNS}|{_LINES}"
QWEN_2 = rf"{_CONTRACTION}|{_WORD}|{DIGIT}|{_SIGNS}|{_LINES}"
QWEN_35 = rf"{_CONTRACTION}|{_LEAD}[\p{{L}}\p{{M}}]+|{DIGIT}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_LINES}"
UFAKZEKA = rf"{_WORD}|{DIGIT}|{_SIGNS}|{_LINES}"
MINICPM_5 = rf"{_CONTRACTION}|{_WORD}|{DIGITS}|{_SIGNS}|{_LINES}"
SEED_CODER = rf"{_CONTRACTION}|{_WORD}|{DIGIT}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_LINES}"
BAILING = rf"{_CONTRACTION}|{_WORD}|{DIGIT}|{_SIGNS}|\s*[\r\n]|{_SPACE}"
EXAONE_MOE = (
    rf"{_CONTRACTION}|{_LEAD}(?:[\p{{L}}][\p{{M}}]*(?: [\p{{L}}][\p{{M}}]*)*)+|{DIGIT}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|{_SPACE}"
)
JAIS_2 = (
    rf"{_CONTRACTION}|{_WORD}|{UP_TO_3_DIGITS}|{_SIGNS}|\s*[\r\n]+"
    + "".join(rf"|\s{{{count}}}(?!\S)" for count in (512, 256, 128, 64, 32, 16, 8, 4))
    + r"|\s{1,2}(?!\S)|\s"
)
KIMI_K2 = rf"[\p{{Han}}]+|{_LEAD}(?:(?![\p{{Han}}])[\p{{L}}])+(?:{_CONTRACTION})?|{UP_TO_3_DIGITS}|{_SIGNS}|{_LINES}"


def _cased(upper: str, lower: str, ending: str) -> str:
    return rf"{_LEAD}[{upper}]*[{lower}]+{ending}|{_LEAD}[{upper}]+[{lower}]*{ending}"


_UPPER, _LOWER = r"\p{L-[a-z]}", r"\p{L-[A-Z]}"
_CONTRACTED = f"(?:{_CONTRACTION})?"
TEKKEN = rf"{_cased(_UPPER, _LOWER, '')}|{DIGIT}|{_SIGNS_AND_SLASHES}|{_LINES}"
GPT_4O = rf"{_cased(_UPPER, _LOWER, _CONTRACTED)}|{UP_TO_3_DIGITS}|{_SIGNS_AND_SLASHES}|{_LINES}"
_MARKED_WORDS = _cased(rf"{_UPPER}\p{{M}}", rf"{_LOWER}\p{{M}}", _CONTRACTED)
GRANITE_EMBEDDING = rf"{_MARKED_WORDS}|{UP_TO_3_DIGITS}|{_SIGNS_AND_SLASHES}|{_LINES}"
_LETTERS_AND_MARKS = rf"{_LEAD}[\p{{L}}\p{{M}}]+{_CONTRACTED}"
TINY_AYA = rf"{_LETTERS_AND_MARKS}|{UP_TO_3_DIGITS}|{_SIGNS_AND_SLASHES}|{_LINES}"
YOUTU = rf"{_LETTERS_AND_MARKS}|{DIGIT}|{_SIGNS_AND_SLASHES}|{_LINES}"

_ASCII_WORD = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
DEEPSEEK_3 = rf"{_ASCII_WORD}| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_LINES}"
SPARK = rf"{_ASCII_WORD}| ?[\p{{P}}\p{{S}}]+|{LINE_ENDS}|{_SPACE}"

SPACED_LETTERS = r"\s?[\p{L}]+"
SPACED_PUNCTUATION = r"\s?[\p{P}]+"
FALCON_PUNCTUATION = r"[\p{P}\$\+<=>\^~\|`]+"
DEFAULT_PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
MORE_CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
YOUTU_SCRIPTS = (
    "[\uac00-\ud7a3\u3131-\u318e]+"
    "|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
    f"|[\u3105-\u312f]+|{CJK}"
)
AFMOE_SCRIPTS = (
    "[\u4e00-\u9fff\u3400-\u4dbf\u8c48-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)

CHAMELEON_SENTINELS = "<sentinel:[0-9]+>"
CHAMELEON_IMAGES = "IMGIMG[A-I]{1,4}Z"
CHAMELEON_SPACE = r"[\t\n]|    |  "
CHAMELEON_PUNCTUATION = r"[\p{P}!-/:-@\[-`{-~]"

DEEPSEEK_LETTERS = (
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a"
    "\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"
)
DEEPSEEK_SIGNS = "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"

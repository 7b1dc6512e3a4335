"""Texts that tokenizers disagree about."""

from __future__ import annotations

NASTY_TEXTS = (
    "",
    " ",
    "\n",
    "Hello, world! It's we'll I'VE they'RE he'd can't 'tis 'S'T don\u2019t ''s",
    "  two   three    four\t\ttabs \t mixed\n\n\nlines\r\n\r\n \n \n end   ",
    "trailing space ",
    "trailing lines \n\n",
    "\n\n\n   leading",
    "1 12 123 1234 12345 123456 1234567 12345678901234 3.14159 1,000,000 0x1F 1e-9 v1.2.3 a1b22c333d4444",
    "٣٤٥ ½ Ⅷ ① x² 12½34567",
    "café cafe\u0301 naïve Ångström Straße İstanbul \u01c5 ʰ ẞ",
    "Привет, мир! Ελληνικά ЧТОЭто CamelCaseHTTPServer",
    "中文字符测试，。！ 日本語のテスト 한국어 ㄱㄅ 「引用」〇\U00020000\U0002ebf0\ufa70\ufaff!\ufaff",
    "ภาษาไทย हिन्दी العربية، עברית မြန်",
    "😀👨\u200d👩\u200d👧 ❤\ufe0f 🇩🇪 emoji😀text",
    "\x00\x01\x02 \x1b[0m \x7f \x1c\x1d\x1e\x1f a\x1cb \x85 \xa0 \xad \ufeff \ufffd \uffff \U0010ffff \u0378 \ue000",
    "\u2003em\u3000ideographic\u2028line\u2029paragraph \u00a0 \u00a0\u00a0x \u200b zero",
    '$100 + 20% = <b>bold</b> & {"key": [1, 2]} #tag @user ~/path/to_file.py \\n `code` ^|~ //\n/ --- ... !!!',
    "def f(x):\n    if x:\n        return 'y'\n\treturn \"z\"  # done\n",
    "<s> </s> <unk> <pad> <|endoftext|> <|im_start|>user<|im_end|> <bos><eos> <start_of_turn> [INST] [MASK] <mask>",
    "<|start|> <|channel|>  <|message|><|end|> <|constrain|> <|call|> <|return|> <|fim_prefix|> <0x0A> <0xFF>",
    "<sentinel:12> IMGIMGABZ IMGIMGABCDEZ x<think> </think> <tool_call>{}</tool_call>",
    "▁already ▁▁marked Ġbyte Ċ level Ā",
    "a" * 300 + "b" * 7 + " " * 130 + "\n" * 40 + "9" * 40 + "!" * 40,
)

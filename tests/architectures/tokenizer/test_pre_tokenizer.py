"""The name of a pre-tokenizer: told, else from the ids of the test text, else from its definition, else refused."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers

from converted_rows import DATA
from ggufactory.architectures.key_values import KeyValues
from ggufactory.architectures.registry import describe
from ggufactory.architectures.tokenizer import pre_tokenizer
from ggufactory.architectures.tokenizer.choice import add_first_vocabulary
from ggufactory.architectures.tokenizer.fast_tokenizer import load_fast_tokenizer
from ggufactory.architectures.tokenizer.files import TokenizerFiles
from ggufactory.architectures.tokenizer.pre_tokenizer_definitions import SPLITTING_RULES
from ggufactory.architectures.tokenizer.pre_tokenizer_hashes import NAME_BY_HASH, TEST_TEXT
from ggufactory.architectures.tokenizer.pre_tokenizer_names import NAMES
from ggufactory.architectures.tokenizer.pre_tokenizer_steps import GPT_2, PUNCTUATION, same_form
from ggufactory.checkpoint import open_checkpoint
from ggufactory.errors import InputError

LLAMA_3 = DATA / "llama31" / "checkpoint"
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK_3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)


def name_of(folder: Path) -> object:
    metadata = describe(open_checkpoint(str(folder))).metadata
    return next(kv.value for kv in metadata if kv.key == "tokenizer.ggml.pre")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return shutil.copytree(LLAMA_3, tmp_path / "checkpoint")


def define(folder: Path, **changes: Any) -> None:
    content = json.loads((LLAMA_3 / "tokenizer.json").read_text(encoding="utf-8")) | changes
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


def splits(*expressions: str, behavior: str = "Isolated") -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": e}, "behavior": behavior, "invert": False} for e in expressions
    ]
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
    return {"type": "Sequence", "pretokenizers": steps}


LLAMA_3_SPLIT = json.loads((LLAMA_3 / "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"][0]["pattern"][
    "Regex"
]
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
QWEN_2 = LLAMA_3_SPLIT.replace("{1,3}", "")
TEKKEN = GPT_4O.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "").replace("{1,3}", "")
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BARE_BYTES = BYTES | {"use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def split(expression: str, **changes: Any) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False} | changes


KEPT = {"behavior": "Removed", "invert": True}
FALCON = sequence(
    {"type": "Punctuation", "behavior": "Contiguous"},
    BYTES,
    {"type": "Digits", "individual_digits": False},
    split("[0-9][0-9][0-9]"),
)


@pytest.mark.parametrize(
    ("definition", "model_type", "name"),
    [
        (splits(LLAMA_3_SPLIT), "llama", "llama-bpe"),
        (splits(LLAMA_3_SPLIT), "glm4", "glm4"),
        (splits(LLAMA_3_SPLIT), "lfm2", "lfm2"),
        (splits(LLAMA_3_SPLIT), "olmo2", "dbrx"),
        (sequence(split(CL100K, **KEPT), BARE_BYTES), "phi3", "dbrx"),
        (splits(QWEN_2), "qwen3", "qwen2"),
        (splits(QWEN_2), "stablelm", "stablelm2"),
        (splits(GPT_4O), "gpt_oss", "gpt-4o"),
        (splits(GPT_4O), "llama4", "llama4"),
        (sequence(split(GPT_4O, **KEPT), BARE_BYTES), "gpt_oss", "gpt-4o"),
        (splits(r"\d{1,3}(?=(?:\d{3})*\b)", GPT_4O), "cohere2", "tiny_aya"),
        (splits(TEKKEN), "mistral", "tekken"),
        (splits(*DEEPSEEK_3), "deepseek_v3", "deepseek-v3"),
        (splits(*(e.replace(r"\r\n", "\r\n") for e in DEEPSEEK_3)), "deepseek_v3", "deepseek-v3"),
        (BYTES, "gpt2", "gpt-2"),
        (sequence(BYTES), "olmoe", "olmo"),
        (BYTES, "roberta", "roberta-bpe"),
        (BYTES, "modernbert", "modern-bert"),
        (sequence(DIGITS, BYTES), "starcoder2", "starcoder"),
        (sequence(DIGITS, BYTES), "granite", "refact"),
        (sequence(DIGITS, BYTES), "cohere", "command-r"),
        (sequence(DIGITS, BYTES), "llama", "smollm"),
        (FALCON, "falcon", "falcon"),
        (splits(" ?[^(\\s|[.,!?…。，、।۔،])]+"), "bloom", "bloom"),
    ],
)
def test_definitions(checkpoint: Path, definition: dict[str, Any], model_type: str, name: str) -> None:
    define(checkpoint, pre_tokenizer=definition)
    assert tokenizer_name(checkpoint, model_type) == name


def tokenizer_name(folder: Path, model_type: str, pre: str | None = None) -> str:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    files = TokenizerFiles.of(open_checkpoint(str(folder)), pre)
    return pre_tokenizer.pre_tokenizer_name(load_fast_tokenizer(files), files)


@pytest.mark.parametrize("ignored", [True, False])
def test_ignored_merges_tell_llama_3_from_older_ones(checkpoint: Path, ignored: bool) -> None:
    model = json.loads((LLAMA_3 / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    define(checkpoint, model=model | {"ignore_merges": ignored})
    assert tokenizer_name(checkpoint, "smollm3") == ("llama-bpe" if ignored else "dbrx")


@pytest.mark.parametrize("normalizer", [{"type": "NFC"}, {"type": "Sequence", "normalizers": []}])
def test_composed_characters_do_not_count(checkpoint: Path, normalizer: dict[str, Any]) -> None:
    define(checkpoint, normalizer=normalizer)
    assert name_of(checkpoint) == "llama-bpe"


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": splits(LLAMA_3_SPLIT + "|x")},
        {"pre_tokenizer": splits(LLAMA_3_SPLIT, "x")},
        {"pre_tokenizer": splits(LLAMA_3_SPLIT, behavior="Removed")},
        {
            "pre_tokenizer": sequence(
                split(r"\p{N}{1,3}", **KEPT), split(DEEPSEEK_3[1]), split(DEEPSEEK_3[2]), BARE_BYTES
            )
        },
        {"pre_tokenizer": sequence(split(LLAMA_3_SPLIT))},
        {"pre_tokenizer": BYTES | {"add_prefix_space": True}},
        {"pre_tokenizer": sequence({"type": "Whitespace"}, BYTES)},
        {"normalizer": {"type": "NFKC"}},
        {"normalizer": {"type": "Lowercase"}},
    ],
    ids=[
        "another",
        "one more",
        "removed",
        "gaps lost",
        "no bytes",
        "prefix",
        "unknown step",
        "normalized",
        "lowercase",
    ],
)
def test_other_definitions_are_refused_with_the_known_names(checkpoint: Path, changes: dict[str, Any]) -> None:
    define(checkpoint, **changes)
    with pytest.raises(InputError, match=r"does not know this pre-tokenizer.*known: .*llama-bpe.*--pre NAME"):
        name_of(checkpoint)


def test_a_name_that_is_told_counts_first(checkpoint: Path) -> None:
    define(checkpoint, pre_tokenizer=splits("unknown"))
    assert tokenizer_name(checkpoint, "llama", pre="tekken") == "tekken"


@pytest.mark.parametrize(("pre", "near"), [("llama-bep", "llama-bpe"), ("x" * 10000, "Name one of: a.x-4.0, ")])
def test_a_name_that_llama_cpp_does_not_know(checkpoint: Path, pre: str, near: str) -> None:
    with pytest.raises(InputError, match=near):
        TokenizerFiles.of(open_checkpoint(str(checkpoint)), pre)


def test_a_name_is_refused_where_nothing_is_split() -> None:
    files = TokenizerFiles.of(open_checkpoint(str(DATA / "llama2" / "checkpoint")), "llama-bpe")
    with pytest.raises(InputError, match=r"--pre llama-bpe: a SentencePiece vocabulary has no pre-tokenizer"):
        add_first_vocabulary(KeyValues(), files, {"vocab_size": 512})


def test_a_fine_tune_with_an_added_token_keeps_its_name(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ids of the test text are others than the published tokenizer's."""
    ids = Tokenizer.from_file(str(LLAMA_3 / "tokenizer.json")).encode(TEST_TEXT).ids
    digest = sha256(str(ids).encode()).hexdigest()
    monkeypatch.setattr(pre_tokenizer, "NAME_BY_HASH", {digest: "llama-bpe"})
    added = json.loads((LLAMA_3 / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    define(checkpoint, added_tokens=[*added, dict(added[-1], id=511, content="apple", special=False)])
    files = TokenizerFiles.of(open_checkpoint(str(checkpoint)))
    assert pre_tokenizer.test_text_hash(load_fast_tokenizer(files)) != digest
    assert pre_tokenizer.pre_tokenizer_name(load_fast_tokenizer(files), files) == "llama-bpe"


def test_rules_give_names_that_llama_cpp_knows() -> None:
    for rule in SPLITTING_RULES:
        assert {rule.name, rule.merging_name or rule.name, *rule.by_family.values()} <= NAMES


@pytest.mark.parametrize(
    ("step", "expressions"),
    [
        (pre_tokenizers.ByteLevel(add_prefix_space=False), [GPT_2]),
        (pre_tokenizers.Digits(individual_digits=True), [r"\p{N}"]),
        (pre_tokenizers.Digits(individual_digits=False), [r"\p{N}+"]),
        (pre_tokenizers.Punctuation("contiguous"), [PUNCTUATION + "+"]),
        (pre_tokenizers.Split(Regex(CL100K), "removed", invert=True), [same_form(CL100K)]),
    ],
    ids=["bytes", "digit", "digits", "punctuation", "cl100k"],
)
def test_steps_split_as_their_expressions_do(step: pre_tokenizers.PreTokenizer, expressions: list[str]) -> None:
    """On the test text, whose pieces are told by where they end."""
    same = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(e), "isolated") for e in expressions])
    assert [at for _, at in step.pre_tokenize_str(TEST_TEXT)] == [at for _, at in same.pre_tokenize_str(TEST_TEXT)]


def test_known_ids_come_before_the_definition(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Tokenizer.from_file(str(LLAMA_3 / "tokenizer.json")).encode(TEST_TEXT).ids
    digest = sha256(str(ids).encode()).hexdigest()
    monkeypatch.setattr(pre_tokenizer, "NAME_BY_HASH", NAME_BY_HASH | {digest: "smaug-bpe"})
    assert name_of(checkpoint) == "smaug-bpe"


def test_truncation_in_the_file_does_not_change_the_ids(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Tokenizer.from_file(str(LLAMA_3 / "tokenizer.json")).encode(TEST_TEXT).ids
    digest = sha256(str(ids).encode()).hexdigest()
    monkeypatch.setattr(pre_tokenizer, "NAME_BY_HASH", {digest: "found"})
    define(checkpoint, truncation={"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0})
    assert name_of(checkpoint) == "found"


def test_the_table_is_the_converters() -> None:
    """Its size, and two entries that tell a shifted or damaged copy."""
    assert len(NAME_BY_HASH) == 95
    assert NAME_BY_HASH["0ef9807a4087ebef797fc749390439009c3b9eda9ad1a097abbe738f486c01e5"] == "llama-bpe"
    assert sha256(TEST_TEXT.encode()).hexdigest() == "a36179c1e2b1cfcfbfad1dc779addad2ffc778201e4cf0d538bddeafa2c526da"

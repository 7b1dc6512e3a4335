"""JSON from strangers: accepted as Python's parser does, refused with one message."""

from __future__ import annotations

import json

import pytest

from ggufactory.checkpoint.json_object import clip, parse_json_object
from ggufactory.errors import InputError


def test_what_configurations_hold_is_accepted() -> None:
    text = '{"a": [1, 2.5, null, true], "limit": [0.0, Infinity], "é": "\\ud83d\\ude00"}'
    assert parse_json_object(text.encode(), "x") == json.loads(text)
    assert parse_json_object(b'{"a": 1, "a": 2}', "x") == {"a": 2}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[1]", r"must hold a JSON object, but holds \[1\]"),
        (b'"' + b"x" * 1000 + b'"', "must hold a JSON object"),
    ],
)
def test_faults(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_json_object(data, "config.json")
    assert str(caught.value).startswith("config.json ")
    assert len(str(caught.value)) < 200


def test_values_are_counted_before_parsing() -> None:
    assert parse_json_object(b'{"a": [1, 2]}', "x", max_values=3) == {"a": [1, 2]}
    with pytest.raises(InputError, match="4 JSON values, more than the 3"):
        parse_json_object(b'{"a": [1, 2, 3]}', "x", max_values=3)


def test_unique_keys_at_any_depth() -> None:
    with pytest.raises(InputError, match="the key 'b' twice"):
        parse_json_object(b'{"a": {"b": 1, "b": 1}}', "x", unique_keys=True)


def test_clip_is_short_ascii() -> None:
    assert clip("a\nb\u202e") == r"'a\nb\u202e'"
    assert len(clip("é" * 1000)) < 600
    assert len(clip([["x" * 1000] * 1000] * 1000)) < 600
    assert clip([4, 8]) == "[4, 8]"

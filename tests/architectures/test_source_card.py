"""What is carried over from a source's own card, and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gguf_files import converted, write_split
from ggufactory.architectures.source_card import source_card
from ggufactory.checkpoint import open_checkpoint, open_source
from ggufactory.container.metadata import KeyValue, ValueType

FRONT_MATTER = f"""---
license: other
license_name: model-license
license_link: {"x" * 400}
language: en
pipeline_tag: [a, b]
tags:
- chat
- 7
- "{"y" * 301}"
- {{a: b}}
---
"""


def test_of_a_checkpoint(tmp_path: Path, tinylm: str) -> None:
    for path in Path(tinylm).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert source_card(open_checkpoint(str(tmp_path))) == {}
    (tmp_path / "README.md").write_text(FRONT_MATTER)
    opened = open_checkpoint(str(tmp_path))
    wanted = {"license": "other", "license_name": "model-license", "language": ["en"], "tags": ["chat"]}
    assert source_card(opened) == wanted
    assert "README.md" in opened.read


def test_of_a_gguf_file(tmp_path: Path, tinylm: str) -> None:
    contents = converted(tinylm)
    said = [
        KeyValue("general.license", ValueType.STRING, "mit"),
        KeyValue("general.languages", ValueType.ARRAY, ("en", "fr"), ValueType.STRING),
        KeyValue("general.tags", ValueType.ARRAY, (), ValueType.STRING),
    ]
    contents = replace(contents, metadata=(*said, *contents.metadata))
    source = write_split(tmp_path, "m", contents, [0, len(contents.tensors)])
    assert source_card(open_source(str(source))) == {"license": "mit", "language": ["en", "fr"]}

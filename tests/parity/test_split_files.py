"""Files split by size: named and keyed as llama-gguf-split does, whole when put together, metadata apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ggufactory.container.decode import decode_header
from ggufactory.container.header import Header
from ggufactory.errors import InputError
from ggufactory.job import ladder_job
from ggufactory.job.job_spec import JobSpec
from silent_watcher import SilentWatcher

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("local_ray")]

LIMIT = 700_000


def _read(path: Path) -> tuple[Header, bytes]:
    data = path.read_bytes()
    return decode_header(lambda offset, length: data[offset : offset + length], len(data)), data


def _spec(source: str, target: Path, **fields: object) -> JobSpec:
    given = {"source": source, "to": str(target), "ladder": ("Q8_0", "Q4_K_M"), "name": "m", "span_bytes": 200_000}
    return JobSpec(**{**given, "split_bytes": LIMIT, **fields})  # type: ignore[arg-type]


def test_split_and_whole_hold_the_same(tmp_path: Path, tinylm: str) -> None:
    ladder_job.run(_spec(tinylm, tmp_path / "whole", split_bytes=None), SilentWatcher())
    result = ladder_job.run(_spec(tinylm, tmp_path / "split"), SilentWatcher())
    for rung in ("Q8_0", "Q4_K_M"):
        whole, whole_data = _read(tmp_path / "whole" / f"m-{rung}.gguf")
        paths = sorted((tmp_path / "split").glob(f"m-{rung}-*.gguf"))
        count = len(paths)
        assert count > 3
        assert [p.name for p in paths] == [f"m-{rung}-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)]
        keys = {}
        tensors = {}
        for number, (header, data) in enumerate(map(_read, paths)):
            own = {kv.key: kv.value for kv in header.metadata}
            assert [own.pop(key) for key in ("split.no", "split.tensors.count", "split.count")] == [
                number,
                len(whole.tensors),
                count,
            ]
            if number:
                assert not own
                assert header.tensors
            else:
                keys = own
                assert not header.tensors
            assert len(data) - header.data_offset <= LIMIT
            starts = [header.data_offset + t.offset for t in header.tensors]
            for info, start, end in zip(header.tensors, starts, [*starts[1:], len(data)], strict=False):
                tensors[info.name] = data[start:end]
        assert keys == {kv.key: kv.value for kv in whole.metadata}
        assert list(tensors) == [t.name for t in whole.tensors]
        assert b"".join(tensors.values()) == whole_data[whole.data_offset :]
    assert [entry["file"] for entry in result.entries] == list(result.plan.files)


def test_a_file_that_is_small_enough_stays_whole(tmp_path: Path, tinylm: str) -> None:
    ladder_job.run(_spec(tinylm, tmp_path, ladder=("Q4_K_M",), split_bytes=10_000_000), SilentWatcher())
    assert [p.name for p in tmp_path.glob("*.gguf")] == ["m-Q4_K_M.gguf"]


def test_a_tensor_that_is_larger_than_a_file_may_be(tmp_path: Path, tinylm: str) -> None:
    with pytest.raises(InputError, match=r"m-Q8_0: 557,056 bytes cannot be divided.*--split-max-size"):
        ladder_job.run(_spec(tinylm, tmp_path, split_bytes=300_000), SilentWatcher())


def test_a_metadata_change_makes_the_first_files_only(tmp_path: Path, tinylm: str) -> None:
    source = tmp_path / "model"
    shutil.copytree(tinylm, source)
    target = tmp_path / "out"
    ladder_job.run(_spec(str(source), target), SilentWatcher())
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.glob("*.gguf")}
    config = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": "{{ better }}"}))
    watcher = SilentWatcher()
    result = ladder_job.republish_headers(_spec(str(source), target), watcher)
    assert sum(receipt.bytes_read for receipt in watcher.receipts) == 0
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.glob("*.gguf")}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {name for name in after if "-00001-of-" in name}
    for name in changed:
        header, _ = _read(target / name)
        assert {kv.key: kv.value for kv in header.metadata}["tokenizer.chat_template"] == "{{ better }}"
    assert len(result.entries) == len(after)


def test_a_change_that_is_not_of_metadata_is_refused(tmp_path: Path, tinylm: str) -> None:
    target = tmp_path / "out"
    ladder_job.run(_spec(tinylm, target), SilentWatcher())
    with pytest.raises(InputError, match=r"files with tensors are not there or not as planned"):
        ladder_job.republish_headers(_spec(tinylm, target, ladder=("Q8_0", "Q6_K")), SilentWatcher())
    with pytest.raises(InputError, match=r"files with tensors are not there or not as planned: m-Q8_0.gguf"):
        ladder_job.republish_headers(_spec(tinylm, target, split_bytes=None), SilentWatcher())
    assert not list(target.glob("*Q6_K*"))

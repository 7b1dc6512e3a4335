"""How fast one task reads a finished file back for its checksums, on one core.

python ops/benchmarks/checksum.py
"""

from __future__ import annotations

import hashlib
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from records import Record, machine

from ggufactory.storage import open_store
from ggufactory.storage.checksum import checksum_object

FILE_BYTES = 1 << 30
ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = np.random.default_rng(0).bytes(FILE_BYTES)
        (Path(folder) / "file.gguf").write_bytes(data)
        store = open_store(folder)
        info = store.stat("file.gguf")
        if info is None:
            raise SystemExit("the file is gone")
        found = checksum_object(store, info)
        if (found.sha256, found.crc32) != (hashlib.sha256(data).hexdigest(), zlib.crc32(data)):
            raise SystemExit("the checksums are wrong: nothing is timed")
        times = [seconds(lambda: checksum_object(store, info)) for _ in range(ROUNDS)]
    processor, wall = (min(kind) * 1e9 / FILE_BYTES for kind in zip(*times, strict=True))
    record = Record("checksum", "Reading a finished file back for its checksums")
    record.table(
        ("what", "measured"),
        [
            ("file", f"{FILE_BYTES / 1e9:.2f} GB, local and in the page cache"),
            ("processor time of one task", f"{processor:.2f} s for a GB"),
            ("wall time of one task", f"{wall:.2f} s for a GB"),
        ],
    )
    record.text(
        f"The best of {ROUNDS}. A file has one task, because SHA-256 goes through it from the beginning to the end: "
        "the largest file takes that long however many cores there are."
    )
    record.write(Path(__file__).parent, machine())


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Of the process's threads together, and by the clock."""
    processor, wall = time.process_time(), time.monotonic()
    call()
    return time.process_time() - processor, time.monotonic() - wall


if __name__ == "__main__":
    main()

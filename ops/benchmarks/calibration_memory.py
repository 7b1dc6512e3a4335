"""Memory of `ggufactory calibrate` on a model that is larger than its limit; checked, then recorded.

The process gets a limit on its data (RLIMIT_DATA: heap and private writable memory) below the size of the model's
weights, and its peak of resident memory is read back. Its result is checked first: every entry with every token's
count, and the first layer's sums against a computation of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from records import Record, machine

from ggufactory.architectures import describe
from ggufactory.calibrate.imatrix_file import read_imatrix_file
from ggufactory.calibrate.sums import ImatrixFile
from ggufactory.calibrate.text.corpus import read_corpus
from ggufactory.calibrate.text.tokenizer import tokenizer_of
from ggufactory.checkpoint import open_checkpoint
from synthetic import DATA, write_llama_checkpoint

SHAPE = {"layers": 18, "hidden": 2048, "intermediate": 8192, "heads": 16, "kv_heads": 4, "vocab": 16384, "shards": 4}
CONTEXT = 512
HIDDEN_MEMORY = 1 << 20
GROUP_TOKENS = 2048
TEXT = DATA / "tinylm" / "calibration.txt"
EPSILON = 1e-5
MIB = 1 << 20
_CHILD = """
import json, sys
from ggufactory.cli import main
code = main(sys.argv[1:])
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
print(json.dumps({name: int(status[name].split()[0]) * 1024 for name in ("VmHWM", "VmData")}))
sys.exit(code)
"""


def run(source: Path, to: Path, limit: int, chunks: int) -> tuple[dict[str, int], float]:
    """Peak and present memory of the process in bytes, and its seconds."""
    arguments = ["calibrate", source, "--text", TEXT, "--to", to, "--context", CONTEXT, "--chunks", chunks]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *map(str, arguments), "--hidden-memory", str(HIDDEN_MEMORY)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    return dict(json.loads(done.stdout.splitlines()[-1])), time.perf_counter() - begun


def check(source: Path, found: ImatrixFile, chunks: int) -> None:
    """ValueError unless all entries have all tokens, and the first layer's are those of the normed embeddings."""
    if len(found.entries) != 7 * SHAPE["layers"]:
        raise ValueError(f"{len(found.entries)} entries")
    for name, entry in found.entries.items():
        if entry.counts.tolist() != [CONTEXT * chunks] or not np.isfinite(entry.sums).all():
            raise ValueError(f"{name}: counts {entry.counts}")
    checkpoint = open_checkpoint(str(source))
    tokens = read_corpus([str(TEXT)], tokenizer_of(describe(checkpoint).metadata), context=CONTEXT, limit=chunks).chunks

    def tensor(name: str) -> np.ndarray:
        stored = checkpoint.tensors[name]
        data = np.empty(stored.nbytes // 2, np.uint16)
        checkpoint.store.read_into(stored.file, stored.offset, memoryview(data).cast("B"))
        return (data.astype(np.uint32) << 16).view(np.float32).reshape(stored.shape)

    rows = tensor("model.embed_tokens.weight")[tokens.ravel()].astype(np.float64)
    normed = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + EPSILON)
    wanted = ((normed * tensor("model.layers.0.input_layernorm.weight")) ** 2).sum(axis=0)
    worst = np.abs(found.entries["blk.0.attn_q.weight"].sums[0] / wanted - 1).max()
    if not worst < 1e-4:
        raise ValueError(f"blk.0.attn_q.weight is {worst:.1e} away from the sums of the normed embeddings")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--limit", type=int, default=1500, metavar="MIB", help="of the process's data")
    options.add_argument("--chunks", type=int, default=4, metavar="N", help=f"of {CONTEXT} tokens; four at a time")
    options.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="for the record")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, to = Path(folder) / "model", Path(folder) / "imatrix.gguf"
        write_llama_checkpoint(source, **SHAPE)
        weights = sum(path.stat().st_size for path in source.glob("*.safetensors"))
        limit = asked.limit * MIB
        if limit >= weights:
            raise SystemExit(f"a limit of {limit:,} bytes is no limit for a model of {weights:,}")
        used, seconds = run(source, to, limit, asked.chunks)
        check(source, read_imatrix_file(str(to)).content, asked.chunks)
        if used["VmHWM"] >= weights:
            raise SystemExit(f"{used['VmHWM']:,} bytes were resident, and the model has {weights:,}")
    attention = 2 * SHAPE["hidden"] ** 2 * (SHAPE["heads"] + SHAPE["kv_heads"]) // SHAPE["heads"]
    layer = 4 * (attention + 3 * SHAPE["hidden"] * SHAPE["intermediate"])
    hidden = CONTEXT * asked.chunks * SHAPE["hidden"] * 4
    record = Record("calibration-memory", "Memory of a calibration, below the size of its model")
    record.table(
        ("what", "measured"),
        [
            ("checkpoint", f"{weights / 1e9:.2f} GB BF16, {SHAPE['layers']} layers, synthetic"),
            ("text", f"{asked.chunks} chunks of {CONTEXT} tokens"),
            ("limit on the process's data (RLIMIT_DATA)", f"{limit / 1e6:,.0f} MB"),
            ("peak of resident memory, libraries included", f"{used['VmHWM'] / 1e6:,.0f} MB"),
            ("a layer's weights in float32", f"{layer / 1e6:,.0f} MB"),
            ("hidden states", f"{hidden / 1e6:,.0f} MB, of which {HIDDEN_MEMORY / 1e6:,.0f} MB may be in memory"),
            (
                "threads",
                f"{min(os.cpu_count() or 1, -(-asked.chunks * CONTEXT // GROUP_TOKENS))}, one for each group of chunks",
            ),
            ("wall time, on a machine with other work", f"{seconds:.0f} s"),
        ],
    )
    record.text(
        "The result was checked: all entries, all counts, and the sums of the first layer's attention against those of "
        "the normed embeddings, computed apart."
    )
    record.write(asked.output, machine())


if __name__ == "__main__":
    main()

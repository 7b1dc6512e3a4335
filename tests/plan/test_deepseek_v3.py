"""The largest published kind of checkpoint, planned from its headers: 91,000 tensors in 163 files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from synthetic_deepseek import DENSE_LAYERS, EXPERTS, LAYERS, SHARDS, WIDTH, write_headers_only_deepseek_v3

# In a process of its own, so that the memory is the plan's. (What getrusage tells begins with the parent's.)
_PLAN = """
import sys
from ggufactory.cli import main
code = main(["plan", sys.argv[1], "--ladder", "Q8_0,Q4_K_M", "--json"])
with open("/proc/self/status") as status:
    peak = next(line for line in status if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024, file=sys.stderr)
sys.exit(code)
"""


def test_planned_from_headers(tmp_path: Path) -> None:
    write_headers_only_deepseek_v3(tmp_path / "v3")
    done = subprocess.run([sys.executable, "-c", _PLAN, tmp_path / "v3"], capture_output=True, text=True, check=True)
    assert int(done.stderr.split()[-1]) < 1 << 30
    plan = json.loads(done.stdout)
    types = plan["rungs"][1]["tensors"]
    per_layer = 4 + 6  # norms; projections of latent attention
    assert len(types) == 3 + LAYERS * per_layer + DENSE_LAYERS * 3 + (LAYERS - DENSE_LAYERS) * 8
    assert types["blk.3.ffn_gate_exps.weight"] == "Q4_K"
    assert types["blk.60.attn_k_b.weight"] == "Q5_0"
    experts = 3 * (LAYERS - DENSE_LAYERS) * EXPERTS * 2048 * WIDTH
    assert plan["rungs"][0]["bytes"] > experts * 34 / 32
    assert len(list((tmp_path / "v3").glob("*.safetensors"))) == SHARDS
    assert plan["worker_bytes"] < 1 << 30

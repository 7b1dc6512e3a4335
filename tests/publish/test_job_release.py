"""A job ends with what lies beside its artifacts, whenever it is killed and however often it is run."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import minisign
import pytest

from ggufactory.cli import main
from ggufactory.publish.manifest import require
from ggufactory.publish.release import names_beside
from ggufactory.storage import open_store

SCHEMA = Path(__file__).parents[2] / "docs" / "manifest.schema.json"


@pytest.mark.cluster
@pytest.mark.usefixtures("local_ray")
def test_a_job_signs_and_describes_what_it_made(
    tmp_path: Path, tinylm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = minisign.KeyPair.generate()
    (tmp_path / "key").write_bytes(bytes(pair.secret_key))
    (tmp_path / "head.md").write_text("---\nquantized_by: me\n---\n# Tiny\n")
    (tmp_path / "job.yaml").write_text(
        f"source: {tinylm}\nto: {tmp_path / 'out'}\nladder: [Q8_0, Q4_K_M]\nsplit_max_size: 2M\n"
        f"card: {tmp_path / 'head.md'}\nsign_key: {tmp_path / 'key'}\n"
    )
    out = tmp_path / "out"
    assert main(["quantize", "--job", str(tmp_path / "job.yaml")]) == 0
    beside = {*names_beside(require(open_store(str(out)))), "manifest.json.minisig", "SHA256SUMS.minisig"}
    made = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert {name for name in made if not name.endswith(".gguf")} == beside
    found = json.loads(made["manifest.json"])
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert found["artifacts"][0]["made_by"]["kernels"], "the workers say what they quantized with"
    assert b"quantized_by: me" in made["README.md"]
    assert b"# Tiny" in made["README.md"]
    public = pair.public_key.to_base64().decode()
    assert main(["verify", str(out), "--public-key", public]) == 0

    for name in beside - {"manifest.json"}:  # as if it had been killed right after the manifest
        (out / name).unlink()
    capsys.readouterr()
    assert main(["quantize", "--job", str(tmp_path / "job.yaml")]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == made

    assert main(["fetch", str(out), "Q4_K_M", "--to", str(tmp_path / "got"), "--public-key", public]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "got").iterdir()} == {
        name: data for name, data in made.items() if "Q4_K_M" in name
    }

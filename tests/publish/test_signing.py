"""Signatures: minisign's own tool accepts ours, and we refuse what was not signed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import minisign
import pytest

from ggufactory.cli import main
from ggufactory.publish.signing import PASSWORD_VARIABLE, Signer, Verifier
from made_targets import MadeTarget, made_target

PASSWORD = "a password that must never be shown"


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Paths of a secret key with a password, and of its public key."""
    pair = minisign.KeyPair.generate()
    pair.secret_key.encrypt(PASSWORD, opslimit=32768, memlimit=16 << 20)
    (tmp_path / "key").write_bytes(bytes(pair.secret_key) + b"\n")
    (tmp_path / "key.pub").write_bytes(bytes(pair.public_key) + b"\n")
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return str(tmp_path / "key"), str(tmp_path / "key.pub")


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[str, str]) -> MadeTarget:
    target = made_target(tmp_path / "out", {"Q8_0": 1000})
    assert main(["card", target.uri, "--sign-key", keys[0]]) == 0
    return target


def test_signed_and_verified(
    signed: MadeTarget, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = Path(keys[1]).read_text().splitlines()[1]
    for key in (keys[1], public):
        assert main(["verify", signed.uri, "--public-key", key]) == 0
        said = capsys.readouterr().out
        assert "manifest.json.minisig" in said
        assert "SHA256SUMS.minisig" in said
    assert main(["fetch", signed.uri, "Q8_0", "--to", str(tmp_path / "got"), "--public-key", public]) == 0


def test_the_same_bytes_have_the_same_signature(signed: MadeTarget, keys: tuple[str, str]) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in signed.folder.glob("*.minisig")}
    assert len(before) == 2
    assert main(["card", signed.uri, "--sign-key", keys[0]]) == 0
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in signed.folder.glob("*.minisig")}
    assert after == before


def test_what_was_changed_or_signed_by_another_is_refused(
    signed: MadeTarget, keys: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = bytes(minisign.KeyPair.generate().public_key.to_base64()).decode()
    assert main(["verify", signed.uri, "--public-key", other]) == 2
    manifest = signed.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"rung": "Q8_0"', b'"rung": "Q4_0"'))
    capsys.readouterr()
    assert main(["fetch", signed.uri, "Q4_0", "--to", str(tmp_path / "got"), "--public-key", keys[1]]) == 2
    assert "signature is not good" in capsys.readouterr().err
    assert not (tmp_path / "got").exists()
    # A signature of one file does not hold for the other, though the key is the same.
    sums, signature = ((signed.folder / name).read_bytes() for name in ("SHA256SUMS", "SHA256SUMS.minisig"))
    key = Verifier.load(keys[1])
    assert key.fault("SHA256SUMS", sums, signature) == ""
    assert "of another file" in key.fault("manifest.json", sums, signature)


def test_an_unsigned_target_is_refused_to_who_gives_a_key(
    tmp_path: Path, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = made_target(tmp_path / "out", {"Q8_0": 1000})
    assert main(["fetch", target.uri, "Q8_0", "--to", str(tmp_path), "--public-key", keys[1]]) == 2
    assert "manifest.json.minisig: is missing" in capsys.readouterr().err


def test_signatures_of_an_earlier_manifest_are_removed_and_those_of_others_kept(
    signed: MadeTarget, keys: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    key = Signer.load(keys[0]).key
    made_target(signed.folder, {"Q6_K": 100}, keep=True)
    assert not list(signed.folder.glob("*.minisig"))
    by_hand = bytes(key.sign((signed.folder / "SHA256SUMS").read_bytes()))
    (signed.folder / "SHA256SUMS.minisig").write_bytes(by_hand)
    assert main(["card", signed.uri]) == 0
    assert (signed.folder / "SHA256SUMS.minisig").read_bytes() == by_hand


@pytest.mark.parametrize("fault", ["password", "no password", "no key", "damaged", "missing"])
def test_a_key_that_cannot_be_used_is_found_before_any_work(
    tmp_path: Path,
    keys: tuple[str, str],
    tinylm: str,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = Path(keys[0])
    if fault == "password":
        monkeypatch.setenv(PASSWORD_VARIABLE, "another password")
    elif fault == "no password":
        monkeypatch.delenv(PASSWORD_VARIABLE)
    elif fault == "no key":
        key.write_text("untrusted comment: nothing\nnothing\n")
    elif fault == "damaged":
        key.write_bytes(key.read_bytes()[:-20])
    else:
        key.unlink()
    assert main(["quantize", tinylm, "--to", str(tmp_path / "new"), "--ladder", "Q8_0", "--sign-key", keys[0]]) == 2
    said = "".join(capsys.readouterr())
    assert "signing key" in said
    assert PASSWORD not in said
    assert "another password" not in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("key", ["RWnothing", "RW", "/nowhere/key.pub", "x"])
def test_a_public_key_that_is_none(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = made_target(tmp_path, {"Q8_0": 10})
    assert main(["verify", target.uri, "--public-key", key]) == 2
    assert "public key" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("minisign") is None, reason="Debian's minisign is not installed")
def test_minisign_itself_accepts_it(signed: MadeTarget, keys: tuple[str, str]) -> None:
    for name in ("SHA256SUMS", "manifest.json"):
        done = subprocess.run(
            ["minisign", "-V", "-m", name, "-p", keys[1]],
            cwd=signed.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert f"file:{name}" in done.stdout

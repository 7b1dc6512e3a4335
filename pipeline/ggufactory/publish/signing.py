"""Detached signatures in minisign's format: `NAME.minisig` beside what it signs, for `minisign -Vm NAME`.

The trusted comment names the file and its SHA-256, and no time: signing the same bytes again gives the
same signature. Ed25519 over BLAKE2b, by the library of minisign's author.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import minisign

from ggufactory.errors import InputError

SUFFIX = ".minisig"
PASSWORD_VARIABLE = "GGUFACTORY_SIGN_PASSWORD"
_LIMIT = 64 << 10
_NAMED = re.compile(rb"^trusted comment: file:[^\t\n]+\tsha256:([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """A secret key, ready to sign."""

    key: minisign.SecretKey

    @classmethod
    def load(cls, path: str) -> Signer:
        """From a file of `minisign -G`; its password is in GGUFACTORY_SIGN_PASSWORD. InputError when it cannot
        be used. What is in the file never appears in a message."""
        try:
            key = minisign.SecretKey.from_bytes(_read(path))
            if key.is_encrypted():
                password = os.environ.get(PASSWORD_VARIABLE)
                if password is None:
                    raise InputError(f"signing key {path} has a password", fix=f"Set {PASSWORD_VARIABLE} to it")
                key.decrypt(password)
        except (minisign.Error, ValueError, OSError, MemoryError) as error:
            said = str(error) if isinstance(error, OSError | minisign.Error) else type(error).__name__
            raise InputError(f"signing key {path} cannot be used: {said}", fix="Make one with minisign -G") from None
        return cls(key)

    def sign(self, name: str, data: bytes) -> bytes:
        """The content of `name`.minisig."""
        comment = f"file:{name}\tsha256:{hashlib.sha256(data).hexdigest()}"
        signature = self.key.sign(data, untrusted_comment="signature of ggufactory", trusted_comment=comment)
        return bytes(signature) + b"\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key."""

    key: minisign.PublicKey

    @classmethod
    def load(cls, given: str) -> Verifier:
        """From a file of `minisign -G`, or the key itself, a line that begins with RW. InputError when it is none."""
        try:
            if not Path(given).is_file() and given.startswith("RW"):
                return cls(minisign.PublicKey.from_base64(given.strip()))
            return cls(minisign.PublicKey.from_bytes(_read(given)))
        except (minisign.Error, ValueError, OSError) as error:
            raise InputError(
                f"public key {given[:200]!r} cannot be used: {error}",
                fix="Give minisign's .pub file, or its second line",
            ) from None

    def fault(self, name: str, data: bytes, signature: bytes) -> str:
        """Why `signature` is not this key's over `data` as the file `name`; empty when it is."""
        try:
            found = minisign.Signature.from_bytes(signature)
            self.key.verify(data, found)
        except (minisign.Error, ValueError) as error:
            return f"the signature is not good: {error}"
        if not found.trusted_comment.startswith(f"file:{name}\t"):
            return f"the signature is of another file: {found.trusted_comment!r}"
        return ""


def signed_sha256(signature: bytes) -> str | None:
    """The SHA-256 that a signature of ours says it is of; unproven, for telling an old one from a current one."""
    found = _NAMED.search(signature)
    return found[1].decode() if found else None


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_LIMIT)

"""The manifest's entry of an importance matrix that a job made for its ladder."""

from __future__ import annotations

from ggufactory.plan.plan import Plan
from ggufactory.publish import manifest
from ggufactory.publish.entry import made_by
from ggufactory.publish.rungs import IMATRIX
from ggufactory.storage.checksum import checksum_object
from ggufactory.storage.protocol import Store


def list_matrix(target: Store, plan: Plan) -> None:
    """Put the matrix that the plan uses, and that lies in `target`, into the manifest, unless it is listed already.

    An entry of the form that rungs have, with `calibration` besides: how the matrix was made.
    """
    matrix = plan.importance
    assert matrix is not None
    assert matrix.record is not None
    info = target.stat(matrix.file)
    if info is None:
        return
    listed = manifest.read(target)[0].get(matrix.file)
    if listed is not None and (listed["identity"], listed["etag"]) == (matrix.record.fingerprint, info.etag):
        return
    checksum = checksum_object(target, info)
    entry: manifest.Entry = {
        "file": matrix.file,
        "rung": IMATRIX,
        "bytes": info.size,
        "crc32": f"{checksum.crc32:08x}",
        "sha256": checksum.sha256,
        "bits_per_weight": 32.0,
        "types": {"F32": 2 * len(matrix.entries)},
        "parts": 1,
        "etag": info.etag,
        "identity": matrix.record.fingerprint,
        "plan": plan.fingerprint,
        "source": manifest.source_of(plan),
        "imatrix": None,
        "calibration": {**matrix.record.as_json(), "chunks": matrix.chunk_count, "entries": len(matrix.entries)},
        "made_by": made_by(),
    }
    manifest.merge(target, {matrix.file: entry})

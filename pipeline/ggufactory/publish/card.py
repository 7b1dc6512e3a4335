"""`README.md`: the model card, in the form that the community knows. A function of the manifest and of
where the files lie, so it can be made anew at any time, and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ggufactory.publish.card_choosing import choosing_section
from ggufactory.publish.card_quality import quality_section
from ggufactory.publish.card_text import code, link, plain, size
from ggufactory.publish.card_usage import check_section, download_section, run_section
from ggufactory.publish.entry import Entry
from ggufactory.publish.front_matter import front_matter, repository
from ggufactory.publish.manifest import MANIFEST, Manifest
from ggufactory.publish.measured import MeasuredModel, measured_models
from ggufactory.publish.rung_guide import describe
from ggufactory.publish.rungs import IMATRIX, MadeRung, made_rungs

CARD = "README.md"
_MARK = "<!-- Made by ggufactory from manifest.json. To change it: ggufactory card --header FILE -->"
_SHOWN_DIGITS = 12
"""Of a checksum in the table: whole ones make it so wide that nothing else can be read."""
_REFERENCE = "[llama.cpp](https://github.com/ggml-org/llama.cpp)"


@dataclass(frozen=True, slots=True)
class CardContent:
    """What the sections are made from."""

    rungs: Sequence[MadeRung]
    """The largest first."""
    entries: Sequence[Entry]
    """Of the rungs' files."""
    place: str
    """`s3://bucket/prefix`, `hf://org/name`, or another word for a folder."""
    matrices: Sequence[Entry]
    """Importance matrices that lie there as well."""
    models: Sequence[MeasuredModel]
    """The same rungs by model, with what was measured of them."""


def render(manifest: Manifest, place: str) -> bytes:
    """The card of a target that lies at `place`, in UTF-8."""
    entries = list(manifest.entries.values())
    made = made_rungs(entries)
    rungs = [rung for rung in made if rung.rung != IMATRIX]
    content = CardContent(
        rungs, [entry for rung in rungs for entry in rung.files], place, _files_of(made, IMATRIX), measured_models(made)
    )
    beginning = manifest.header.text or _beginning(content)
    parts = [
        front_matter(content.entries, manifest.header),
        _MARK,
        beginning,
        *(section(content) for section in _SECTIONS),
    ]
    return ("\n\n".join(part.strip() for part in parts if part) + "\n").encode()


def is_ours(card: bytes) -> bool:
    """Whether a README.md was made here, and may be replaced."""
    return _MARK.encode() in card


def _beginning(content: CardContent) -> str:
    names = list(dict.fromkeys(rung.name for rung in content.rungs))
    models = sorted({_model(entry) for entry in content.entries})
    title = ", ".join(plain(name) for name in names)
    told = (
        f"GGUF files of {', '.join(models)} for {_REFERENCE} and the programs that are built on it. "
        f"Each file is, byte for byte, the one that llama.cpp's own tools make."
    )
    return f"# {title} GGUF\n\n{told}"


def _files(content: CardContent) -> str:
    lines = [
        "| File | Type | Size | Bits per weight | Split | For whom | SHA-256 |",
        "|---|---|---:|---:|---|---|---|",
    ]
    for rung in content.rungs:
        cells = (
            _links(rung),
            plain(rung.rung),
            size(rung.bytes).replace(" ", "&nbsp;"),
            f"{rung.bits_per_weight:.2f}",
            f"{len(rung.files)} files" if len(rung.files) > 1 else "no",
            describe(rung.files[0]),
            "<br>".join(code(f"{entry['sha256'][:_SHOWN_DIGITS]}…") for entry in rung.files),
        )
        lines.append(f"| {' | '.join(cells)} |")
    text = "## Files\n\n" + "\n".join(lines)
    matrices = ", ".join(f"{link(entry['file'])} ({size(entry['bytes'])})" for entry in content.matrices)
    return f"{text}\n\nThe importance matrix that they were made with: {matrices}" if matrices else text


def _files_of(made: Sequence[MadeRung], rung: str) -> list[Entry]:
    return [entry for other in made if other.rung == rung for entry in other.files]


def _links(rung: MadeRung) -> str:
    """To the file; of a split to the first by its name, to the others by their numbers."""
    first, *others = (entry["file"] for entry in rung.files)
    more = [link(name, str(number)) for number, name in enumerate(others, 2)]
    return link(first) + (f"<br>and {' '.join(more)}" if more else "")


def _provenance(content: CardContent) -> str:
    rows: list[tuple[str, Callable[[Entry], str]]] = [
        ("model", _model),
        ("revision", lambda entry: code(str(entry["source"]["revision"])) if entry["source"].get("revision") else ""),
        ("architecture", _architecture),
        ("importance matrix", _importance),
        ("made by", lambda entry: f"ggufactory {plain(str(entry['made_by'].get('ggufactory')))}"),
        ("byte for byte as", lambda entry: plain(str(entry["made_by"].get("reference")))),
        ("plan", lambda entry: code(entry["plan"])),
    ]
    lines = ["| | |", "|---|---|"]
    for title, told in rows:
        if values := [value for value in dict.fromkeys(told(entry) for entry in content.entries) if value]:
            lines.append(f"| {title} | {'<br>'.join(values)} |")
    more = (
        f"[{MANIFEST}]({MANIFEST}) has the rest: hashes of the source's files, the type of every tensor in every file, "
        "and the checksums."
    )
    return "## Where they come from\n\n" + "\n".join(lines) + f"\n\n{more}"


def _model(entry: Entry) -> str:
    """A link where it is on the hub; else the folder's name, because paths are nobody's business."""
    name = repository(entry)
    if name:
        return f"[{plain(name)}](https://huggingface.co/{name})"
    return plain(str(entry["source"].get("uri", "")).rstrip("/").rpartition("/")[2])


def _architecture(entry: Entry) -> str:
    parameters = entry["source"].get("parameters")
    told = plain(str(entry["source"].get("architecture", "")))
    return f"{told}, {parameters:,} parameters" if isinstance(parameters, int) else told


def _importance(entry: Entry) -> str:
    used = entry.get("imatrix")
    if not used:
        return "none"
    named = used.get("datasets")
    datasets = ", ".join(code(str(name)) for name in named) if isinstance(named, list) else ""
    chunks = f", {used['chunks']} chunks" if used.get("chunks") else ""
    texts = f" from {datasets}{chunks}" if datasets else chunks
    return f"{code(str(used.get('file')))}{texts}; SHA-256 {code(str(used.get('sha256')))}"


_SECTIONS: tuple[Callable[[CardContent], str], ...] = (
    _files,
    lambda content: quality_section(content.models),
    lambda content: choosing_section(content.models),
    lambda content: download_section(content.rungs, content.place),
    lambda content: check_section(content.rungs, content.place),
    lambda content: run_section(content.rungs, content.place),
    _provenance,
)

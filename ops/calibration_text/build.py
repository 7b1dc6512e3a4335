"""Assemble the calibration text that the package brings with it, and the list of its parts.

    python ops/calibration_text/build.py FOLDER

FOLDER holds the two releases that parts are taken from, which `SOURCES` names with where they are to be had and what
they hash to. What is written here itself lies beside this script. The same inputs make the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import re
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TO = ROOT / "pipeline" / "ggufactory" / "calibrate" / "text"
SENTENCES, LINES = 5, 40
"""Of a language: at a time, and in all."""
PIECE = 2400
"""Characters that stay together, about: a chunk of 512 tokens, or two."""
SOURCES = {
    "django-5.2.8-py3-none-any.whl": "37e687f7bd73ddf043e2b6b97cfe02fcbb11f2dbb3adccc6a2b18c6daa054d7f",
    "python3.11-doc_3.11.2-6+deb12u9_all.deb": "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
}
"""From PyPI (`pip download --no-deps django==5.2.8`) and Debian 12 (`apt-get download python3.11-doc`)."""
OURS = "written for ggufactory"
DJANGO = "Django 5.2.8, Django Software Foundation and contributors"
PYTHON = "Python 3.11.2 documentation, Python Software Foundation"
LANGUAGES = (
    *("ar", "bg", "bn", "ca", "cs", "da", "de", "el", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja"),
    *("ko", "nb", "nl", "pl", "pt", "pt_BR", "ro", "ru", "sr", "sv", "sw", "ta", "th", "tr", "uk", "ur", "vi"),
    *("zh_Hans", "zh_Hant"),
)
CATALOGUES = ("django/conf", "django/contrib/admin", "django/contrib/auth")
PROSE = (
    "faq/general",
    "howto/functional",
    "howto/sockets",
    "howto/unicode",
    "tutorial/appetite",
    "tutorial/controlflow",
)
PYTHON_CODE = ("utils/text", "utils/dateparse", "core/signing", "core/paginator", "http/cookie")
SCRIPTS = ("actions", "calendar", "core", "inlines", "urlify", "nav_sidebar")
TEMPLATES = ("admin/change_list.html", "admin/index.html", "registration/password_change_form.html", "admin/login.html")
STYLES = ("login", "nav_sidebar", "dashboard")
C = ("extending/extending",)


@dataclass(frozen=True, slots=True)
class Part:
    """`of`: who wrote it; `text`: paragraphs apart by empty lines."""

    name: str
    of: str
    licence: str
    text: str


def main(folder: Path) -> None:
    for name, wanted in SOURCES.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != wanted:
            sys.exit(f"{name}: wanted SHA-256 {wanted}, found {found}")
    wheel = zipfile.ZipFile(folder / "django-5.2.8-py3-none-any.whl")
    parts = [*_written(), *_of_django(wheel), *_of_python(folder / "python3.11-doc_3.11.2-6+deb12u9_all.deb")]
    text = "\n\n".join(_interleaved(parts)) + "\n"
    data = text.encode()
    (TO / "default_text.txt.gz").write_bytes(gzip.compress(data, 9, mtime=0))
    (TO / "default_text_licences.txt").write_text(_licences(wheel), encoding="utf-8")
    (TO / "default_text.md").write_text(_listed(parts, data), encoding="utf-8")


def _written() -> Iterator[Part]:
    for name, told in (
        ("languages", "the same small story in eighteen languages"),
        ("chat", "conversations of a person and an assistant"),
        ("maths", "proofs, exercises, formulas, TeX"),
        ("code", "Rust, Go, Java, TypeScript, SQL, shell, Haskell, a Dockerfile, HTML, a patch"),
    ):
        yield Part(told, OURS, "MIT", (HERE / f"{name}.txt").read_text(encoding="utf-8"))
    yield Part("JSON, CSV, YAML, XML and log lines, generated", OURS, "MIT", structured(random.Random(20261122)))


def _of_django(wheel: zipfile.ZipFile) -> Iterator[Part]:
    def read(names: tuple[str, ...], path: str) -> str:
        return "\n\n".join(wheel.read(path.format(name)).decode().strip() for name in names)

    told = f"sentences of an application's interface in {len(LANGUAGES)} languages"
    yield Part(told, DJANGO, "BSD-3-Clause", _in_turn([_sentences(wheel, language) for language in LANGUAGES]))
    for told, names, path in (
        ("Python", PYTHON_CODE, "django/{}.py"),
        ("JavaScript", SCRIPTS, "django/contrib/admin/static/admin/js/{}.js"),
        ("HTML templates", TEMPLATES, "django/contrib/admin/templates/{}"),
        ("CSS", STYLES, "django/contrib/admin/static/admin/css/{}.css"),
    ):
        yield Part(told, DJANGO, "BSD-3-Clause", read(names, path))


def _in_turn(languages: list[list[str]]) -> str:
    """A few sentences of each language, then a few more: any stretch has all of them."""
    rounds = range(0, max(map(len, languages)), SENTENCES)
    turns = ["\n".join(of[start : start + SENTENCES]) for start in rounds for of in languages]
    return "\n\n".join(turn for turn in turns if turn)


def _sentences(wheel: zipfile.ZipFile, language: str) -> list[str]:
    """What the catalogues translate into, of the length of a sentence, in their order."""
    found = []
    for catalogue in CATALOGUES:
        text = wheel.read(f"{catalogue}/locale/{language}/LC_MESSAGES/django.po").decode()
        for match in re.finditer(r'^msgstr(?:\[0\])? ((?:".*"\n?)+)', text, re.MULTILINE):
            joined = "".join(re.findall(r'"(.*)"', match[1])).replace("\\n", "\n").replace('\\"', '"').strip()
            if len(joined.encode()) >= 40 and not joined.startswith("Project-Id-Version"):
                found.append(joined)
    return found[:LINES]


def _of_python(package: Path) -> Iterator[Part]:
    with tarfile.open(fileobj=io.BytesIO(_member(package, "data.tar.xz"))) as archive:
        for told, names in (("essays, answers and lessons in English, with Python", PROSE), ("lessons with C", C)):
            files = (archive.extractfile(f"./usr/share/doc/python3.11/html/_sources/{n}.rst.txt") for n in names)
            texts = [file.read().decode() for file in files if file is not None]
            assert len(texts) == len(names)
            yield Part(told, PYTHON, "PSF-2.0", "\n\n".join(texts))


def _member(package: Path, wanted: str) -> bytes:
    """Of an ar archive, which a Debian package is."""
    data = package.read_bytes()
    at = 8
    while at < len(data):
        name, size = data[at : at + 16].decode().strip().rstrip("/"), int(data[at + 48 : at + 58])
        if name == wanted:
            return data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise SystemExit(f"{package} has no {wanted}")


def structured(chance: random.Random) -> str:
    """Records of an invented harbour in several notations."""
    ships = ("Alcyone", "Brise", "Cormorán", "Dagný", "Éole", "Fjordingen", "Glenmore", "Hoshi", "Ильмень", "海燕")
    harbours = ("Aalborg", "Bergen", "Cork", "Dieppe", "Esbjerg", "Funchal", "Gdańsk", "Havre", "Izmir", "Kochi")

    def record(number: int) -> dict[str, object]:
        return {
            "id": number,
            "ship": chance.choice(ships),
            "from": chance.choice(harbours),
            "draught_m": round(chance.uniform(2, 14), 1),
            "tonnes": chance.randrange(80, 42_000),
            "arrived": f"2026-{chance.randrange(1, 13):02}-{chance.randrange(1, 29):02}T"
            f"{chance.randrange(24):02}:{chance.randrange(60):02}:00Z",
            "berths": sorted(chance.sample(range(1, 30), chance.randrange(1, 4))),
            "customs": chance.choice((True, False, None)),
        }

    return "\n\n".join(notation([record(100 + n) for n in range(14)]) for notation in NOTATIONS for _ in range(2))


Records = list[dict[str, object]]


def _json(records: Records) -> str:
    return json.dumps(records, indent=2, ensure_ascii=False)


def _lines_of_json(records: Records) -> str:
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in records)


def _csv(records: Records) -> str:
    rows = [";".join(records[0])] + [";".join(str(value) for value in record.values()) for record in records]
    return "\n".join(rows)


def _yaml(records: Records) -> str:
    return "\n".join(
        "- " + "\n  ".join(f"{key}: {value if value is not None else 'null'}" for key, value in record.items())
        for record in records
    )


def _xml(records: Records) -> str:
    rows = (
        f'  <arrival id="{r["id"]}" at="{r["arrived"]}"><ship>{r["ship"]}</ship><from>{r["from"]}</from>'
        f'<load unit="t">{r["tonnes"]}</load></arrival>'
        for r in records
    )
    return '<?xml version="1.0" encoding="UTF-8"?>\n<arrivals>\n' + "\n".join(rows) + "\n</arrivals>"


def _log(records: Records) -> str:
    return "\n".join(
        f"{r['arrived']} INFO pilot[{1000 + len(str(r['ship']))}]: ship={r['ship']} draught={r['draught_m']} "
        f"berth={','.join(map(str, r['berths']))} status={'cleared' if r['customs'] else 'waiting'}"  # type: ignore[call-overload]
        for r in records
    )


NOTATIONS: tuple[Callable[[Records], str], ...] = (_json, _lines_of_json, _csv, _yaml, _xml, _log)


def _pieces(text: str) -> list[str]:
    """Paragraphs, several together where they are short."""
    pieces: list[str] = []
    for paragraph in re.split(r"\n{2,}", text.strip()):
        if pieces and len(pieces[-1]) + len(paragraph) < PIECE:
            pieces[-1] += "\n\n" + paragraph
        else:
            pieces.append(paragraph)
    return pieces


def _interleaved(parts: list[Part]) -> list[str]:
    """The pieces of all parts, so that any stretch of the text is as mixed as the whole."""
    placed = []
    for number, part in enumerate(parts):
        pieces = _pieces(part.text)
        placed += [((at + 0.5) / len(pieces), number, piece) for at, piece in enumerate(pieces)]
    return [piece for _, _, piece in sorted(placed)]


def _listed(parts: list[Part], data: bytes) -> str:
    rows = "\n".join(f"| {p.name} | {len(p.text.encode()):,} | {p.of} | {p.licence} |" for p in parts)
    return f"""# The default calibration text

`default_text.txt.gz`: {len(data):,} bytes of UTF-8, SHA-256 `{hashlib.sha256(data).hexdigest()}`, assembled by
`ops/calibration_text/build.py`. Its parts are cut into pieces of some {PIECE:,} characters, which take
turns, so that the first chunks are as mixed as the whole.

| part | bytes | of | licence |
|---|---:|---|---|
{rows}

`default_text_licences.txt` holds the terms of the parts that are not ours.
"""


def _licences(wheel: zipfile.ZipFile) -> str:
    folder = "django-5.2.8.dist-info/licenses"
    terms = [(DJANGO, "LICENSE"), (PYTHON, "LICENSE.python")]
    return "\n\n".join(f"{of}\n{'=' * len(of)}\n{wheel.read(f'{folder}/{name}').decode()}" for of, name in terms)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

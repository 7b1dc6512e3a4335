"""The sections of a model card that are commands: how to download, check and run a file.

They are for whoever has the usual tools of a place, and not ours: `aws`, `hf`, `sha256sum`, llama.cpp, ollama.
"""

from __future__ import annotations

from collections.abc import Sequence

from ggufactory.publish.card_text import shell
from ggufactory.publish.rungs import MadeRung
from ggufactory.publish.sums import SUMS

_USUAL = "Q4_K_M"
_EMBEDS = ("bert", "embedding")
_SPLIT = (
    "Some rungs are split over several files. Download all of them into one folder and give llama.cpp the first: it "
    "finds the others. Programs that need a single file can have them merged with `llama-gguf-split --merge`."
)


def download_section(rungs: Sequence[MadeRung], place: str) -> str:
    """How to get one rung from where it lies."""
    rung = _example(rungs)
    if rung is None:
        return ""
    split = [r for r in rungs if len(r.files) > 1]
    shown = [rung, *(r for r in split[:1] if r != rung)]
    if repository := _repository(place):
        commands = [f"hf download {repository} --include {shell(r.pattern)} --local-dir ." for r in shown]
    elif place.startswith("s3://"):
        commands = [_copy_from_s3(r, place) for r in shown]
    else:
        return f"## Split files\n\n{_SPLIT}" if split else ""
    text = f"## Download\n\n{_block(commands)}\n\n"
    text += "Over several connections, going on where it was interrupted, and checked at the end:"
    text += f"\n\n{_block([f'ggufactory fetch {shell(place)} {shell(rung.rung)} --to .'])}"
    return f"{text}\n\n{_SPLIT}" if split else text


def _copy_from_s3(rung: MadeRung, place: str) -> str:
    if len(rung.files) == 1:
        return f"aws s3 cp {shell(f'{place}/{rung.first}')} ."
    return f"aws s3 cp {shell(f'{place}/')} . --recursive --exclude '*' --include {shell(rung.pattern)}"


def check_section(rungs: Sequence[MadeRung], place: str) -> str:
    """How to see that what came is what was made."""
    if not rungs:
        return ""
    fetch = []
    if repository := _repository(place):
        fetch = [f"hf download {repository} {SUMS} --local-dir ."]
    elif place.startswith("s3://"):
        fetch = [f"aws s3 cp {shell(f'{place}/{SUMS}')} ."]
    signed = (
        f"Where there is a `{SUMS}.minisig`, the list is signed: `minisign -Vm {SUMS} -P KEY`, with the publisher's "
        "public key, says whether it is theirs."
    )
    sums = [f"{entry['sha256']}  {entry['file']}" for rung in rungs for entry in rung.files]
    listed = "<details>\n<summary>All checksums</summary>\n\n```\n" + "\n".join(sums) + "\n```\n\n</details>"
    return f"## Check\n\n{_block([*fetch, f'sha256sum --check --ignore-missing {SUMS}'])}\n\n{signed}\n\n{listed}"


def run_section(rungs: Sequence[MadeRung], place: str) -> str:
    """How to start it, with llama.cpp and with ollama."""
    rung = _example(rungs)
    if rung is None:
        return ""
    file = shell(rung.first)
    if _only_embeds(rung):
        return f"## Run\n\n{_block([f'llama-embedding -m {file} -p ' + shell('What is a ladder?')])}"
    commands = [f"llama-cli -m {file}", f"llama-server -m {file} --port 8080"]
    if repository := _repository(place):
        commands.append(f"llama-server -hf {shell(f'{repository}:{rung.rung}')}")
    text = f"## Run\n\nWith llama.cpp, in a terminal or as a server with a page and an API:\n\n{_block(commands)}"
    if repository:
        return f"{text}\n\nWith ollama:\n\n{_block(['ollama run ' + shell(f'hf.co/{repository}:{rung.rung}')])}"
    if len(rung.files) > 1:
        return text
    name = shell(rung.name.lower())
    made = [
        f"echo {shell(f'FROM ./{rung.first}')} > Modelfile",
        f"ollama create {name} -f Modelfile",
        f"ollama run {name}",
    ]
    return f"{text}\n\nWith ollama:\n\n{_block(made)}"


def _example(rungs: Sequence[MadeRung]) -> MadeRung | None:
    """The rung that commands are shown with: the usual one, or the one in the middle."""
    usual = [rung for rung in rungs if rung.rung == _USUAL]
    return usual[0] if usual else rungs[len(rungs) // 2] if rungs else None


def _only_embeds(rung: MadeRung) -> bool:
    source = rung.files[0]["source"]
    return any(word in str(source.get("architecture", "")) for word in _EMBEDS)


def _repository(place: str) -> str | None:
    return place.removeprefix("hf://") if place.startswith("hf://") else None


def _block(commands: Sequence[str]) -> str:
    return "```sh\n" + "\n".join(commands) + "\n```"

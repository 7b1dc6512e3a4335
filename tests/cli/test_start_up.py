"""What has no use for the heavy libraries does not import them: each of them takes seconds."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from ggufactory.assemble import uploads
from ggufactory.cli import main
from ggufactory.cluster.work import missing_spans
from ggufactory.job.job_plan import make_plan
from ggufactory.job.job_spec import JobSpec
from ggufactory.storage import open_store

HEAVY = ("torch", "transformers", "tokenizers", "ray", "boto3", "huggingface_hub", "matplotlib", "triton")

_DESCRIBE = """
import contextlib, os, sys
from ggufactory.cli import main
heavy = set(sys.argv[3].split(","))
tinylm, target = sys.argv[1:3]
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
    commands = [["inspect", tinylm], ["status", target], ["gc", target], ["plan", target + "/none", "--ladder", "Q8_0"]]
    codes = [main(command) for command in commands]
    for asked in (["--help"], ["plan", "--help"]):
        with contextlib.suppress(SystemExit):
            main(asked)
print(codes, sorted(heavy & set(sys.modules)))
"""

_SPAN = """
import pickle, sys
from ggufactory.cluster.devices import backend_of_worker
from ggufactory.cluster.span_pipeline import make_span
heavy = set(sys.argv[2].split(","))
with open(sys.argv[1], "rb") as file:
    work, headers = pickle.load(file)
receipt = make_span(work, headers, {}, device=backend_of_worker("auto", 0.0))
print(len(receipt.parts), sorted(heavy & set(sys.modules)))
"""


def _run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments, ",".join(HEAVY)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_commands_that_describe(tinylm: str, tmp_path: Path) -> None:
    assert _run(_DESCRIBE, tinylm, str(tmp_path)) == "[0, 0, 0, 2] []"


def test_a_span_on_a_worker(tinylm: str, tmp_path: Path) -> None:
    spec = JobSpec(source=tinylm, to=str(tmp_path / "out"), ladder=("Q8_0", "Q4_0"))
    target = open_store(spec.require_target())
    plan = make_plan(spec, target)
    work = next(iter(missing_spans(plan, uploads.begin(target, plan), spec.require_target())))
    headers = {file.name: plan.header(rung, file) for rung in plan.rungs for file in rung.files}
    given = tmp_path / "work.pickle"
    given.write_bytes(pickle.dumps((work, headers)))
    assert _run(_SPAN, str(given)) == "2 []"


def test_ctrl_c_while_the_commands_are_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "ggufactory.cli.commands":
                raise KeyboardInterrupt

    monkeypatch.delattr("ggufactory.cli.commands", raising=False)
    monkeypatch.delitem(sys.modules, "ggufactory.cli.commands", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    assert main(["plan", "--help"]) == 130
    assert capsys.readouterr().err == "ggufactory: stopped by SIGINT before it began\n"

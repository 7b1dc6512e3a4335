"""`ggufactory plan`: what `quantize` would do."""

from __future__ import annotations

import argparse
import json

from ggufactory.cli.help_format import HelpFormatter
from ggufactory.cli.help_texts import EXIT_CODES, PLAN
from ggufactory.cli.job_flags import add_job_flags, job_spec
from ggufactory.job.job_plan import make_plan
from ggufactory.observe import tables
from ggufactory.observe.console import stdout_console
from ggufactory.plan.summary import as_json
from ggufactory.storage import open_store


def add_plan_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "plan", help="say what quantize would do", description=PLAN, epilog=EXIT_CODES, formatter_class=HelpFormatter
    )
    add_job_flags(parser)
    parser.add_argument("--json", action="store_true", help="print the whole plan as JSON")
    parser.set_defaults(command=_plan)


def _plan(options: argparse.Namespace) -> int:
    spec = job_spec(options)
    plan = make_plan(spec, open_store(spec.to) if spec.to else None)
    if options.json:
        print(json.dumps(as_json(plan), indent=1))
    else:
        tables.print_plan(stdout_console(), plan)
    return 0

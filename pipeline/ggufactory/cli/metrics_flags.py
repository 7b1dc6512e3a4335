"""The flags that say where metrics go."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager

from ggufactory.observe.exports import Exports, open_exports


def add_outcome_flags(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Where it is told how a run ended."""
    group = parser.add_argument_group("where its metrics go")
    add = group.add_argument
    add("--metrics-textfile", metavar="FILE.prom", help="write how the run ended, for node exporter")
    add("--metrics-push", metavar="URL", help="push how the run ended to this Prometheus push gateway")
    return group


def add_metrics_flags(parser: argparse.ArgumentParser) -> None:
    """Those, and where the run can be watched while it lasts."""
    add = add_outcome_flags(parser).add_argument
    add("--metrics-port", metavar="N", type=int, help="serve metrics at http://HOST:N/metrics while it runs")


def exports_of(flags: argparse.Namespace) -> AbstractContextManager[Exports]:
    """InputError on entering, for flags that cannot be followed."""
    return open_exports(flags.metrics_textfile, flags.metrics_push, getattr(flags, "metrics_port", None))

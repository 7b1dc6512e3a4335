"""Where this process's metrics go besides Ray: a port, a text file, a push gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException

from prometheus_client import disable_created_metrics, start_http_server

from ggufactory.errors import GgufactoryError, InputError
from ggufactory.interrupts import StoppedError
from ggufactory.metrics import MetricSink
from ggufactory.observe.outcome import Run, record_outcome
from ggufactory.observe.prometheus_metrics import PrometheusMetrics
from ggufactory.observe.push_gateway import PushGateway
from ggufactory.observe.text_file import MetricsTextFile

Warn = Callable[[str], None]


class Exports:
    """`sinks`: what live measurements are recorded in. What a run leaves goes to the file and the gateway;
    that it cannot go there is a warning: no job fails for it."""

    def __init__(self, text_file: MetricsTextFile | None, gateway: PushGateway | None, live: list[MetricSink]) -> None:
        self._text_file = text_file
        self._gateway = gateway
        self.sinks = tuple(live)

    @contextmanager
    def run(self, command: str, model: str, warn: Warn) -> Iterator[Run]:
        """A run of `command` on `model` is what the block does; how it ends is exported."""
        run = Run(command, model)
        exit_code = 1
        try:
            yield run
            exit_code = 0
        except (GgufactoryError, StoppedError) as error:
            exit_code = error.exit_code
            raise
        finally:
            self.publish(run.labels, lambda sink: record_outcome(sink, run, exit_code), warn)

    def publish(self, group: Mapping[str, str], record: Callable[[MetricSink], None], warn: Warn) -> None:
        """What `record` gives goes to the file and the gateway. `group`: the labels that all of it has."""
        if self._text_file:
            try:
                self._text_file.update(record)
            except OSError as error:
                warn(f"the metrics file cannot be written: {error}")
        if self._gateway:
            try:
                self._gateway.push(group, record)
            except (OSError, HTTPException) as error:
                warn(f"no metrics were pushed to {self._gateway.url}: {error}")


@contextmanager
def open_exports(text_file: str | None, push: str | None, port: int | None) -> Iterator[Exports]:
    """InputError, before any work, for what cannot be meant or is taken. `port`: 0 for any that is free."""
    # A second series for each counter, of which nothing is made. The function has no annotations.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    file, gateway = MetricsTextFile(text_file) if text_file else None, PushGateway(push) if push else None
    if port is None:
        yield Exports(file, gateway, [])
        return
    served = PrometheusMetrics()
    try:
        server, thread = start_http_server(port, registry=served.registry)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--metrics-port {port}: {str(error).rstrip('.')}", fix="Give a free port, such as 9400"
        ) from error
    try:
        yield Exports(file, gateway, [served])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

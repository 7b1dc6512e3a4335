"""Metrics pushed to a Prometheus push gateway, for runs that no Prometheus can find while they last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from prometheus_client import pushadd_to_gateway

from ggufactory.errors import InputError
from ggufactory.metrics import MetricSink
from ggufactory.observe.prometheus_metrics import PrometheusMetrics

_JOB = "ggufactory"
_SECONDS = 10.0


class PushGateway:
    """InputError on construction for an address that cannot be meant."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            raise InputError("--metrics-push: wanted an address such as http://gateway:9091") from None
        if parts.username is not None or parts.password is not None:
            raise InputError("--metrics-push: a password does not belong on a command line", fix="Leave it out")
        if not valid:
            raise InputError(f"--metrics-push {url!r}: wanted an address such as http://gateway:9091")
        self.url = url

    def push(self, group: Mapping[str, str], record: Callable[[MetricSink], None]) -> None:
        """Replace what the gateway holds of this group by what `record` gives, metric by metric: those that it
        does not give (the last success, after a failure) stay. OSError when the gateway cannot be reached or refuses.
        """
        sink = PrometheusMetrics()
        record(sink)
        pushadd_to_gateway(self.url, job=_JOB, registry=sink.registry, grouping_key=dict(group), timeout=_SECONDS)

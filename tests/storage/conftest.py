"""The stores that the tests run against: a folder, and a prefix on a real S3 server."""

from __future__ import annotations

import os
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from ggufactory.storage import Store, open_store


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a store that does not exist yet."""
    if request.param == "folder":
        return str(tmp_path / "store")
    request.getfixturevalue("s3")
    return f"s3://gguf/{uuid.uuid4().hex}"


@pytest.fixture
def store(uri: str) -> Store:
    return open_store(uri)


@pytest.fixture
def fork() -> Callable[[Callable[[], object]], int]:
    """Start a function in another process and return the process's id. It exits with 1 if it raises."""

    def start(function: Callable[[], object]) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                function()
                status = 0
            except BaseException:  # noqa: BLE001 - the child must not return into the test session
                traceback.print_exc()
            finally:
                os._exit(status)
        return child

    return start

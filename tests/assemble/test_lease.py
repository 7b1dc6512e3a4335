"""The lease of a target: one holder at a time, renewed, and taken over when nobody renews it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from ggufactory import interrupts
from ggufactory.assemble import lease as leases
from ggufactory.assemble.job_state import LEASE
from ggufactory.assemble.lease import Lease, LeaseRecord, acquire, leased, read_lease
from ggufactory.assemble.lease_owner import Owner, is_gone, this_run
from ggufactory.errors import InputError, LeaseHeldError, LeaseLostError, UnavailableError
from ggufactory.storage import open_store
from ggufactory.storage.protocol import Store

ELSEWHERE = Owner("other-run", "sync of m", "other-host", 7, "other-boot/pid:[1]/7/100")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def target(request: pytest.FixtureRequest) -> Store:
    if request.param == "folder":
        return open_store(str(request.getfixturevalue("tmp_path") / "out"))
    return open_store(str(request.getfixturevalue("s3_prefix")))


def _put(store: Store, record: LeaseRecord) -> None:
    assert leases._write(store, record, None)


def _wait_until(condition: object) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_lost(lease: Lease) -> bool:
    try:
        lease.check()
    except LeaseLostError:
        return True
    return False


def test_one_holder_at_a_time(target: Store) -> None:
    first = acquire(target, "sync of m")
    first.check()
    with pytest.raises(LeaseHeldError, match=rf"process {os.getpid()} on .* \(sync of m\) holds the lease") as held:
        acquire(target, "another")
    assert held.value.exit_code == 5
    first.release()
    assert target.list() == []
    acquire(target, "another").release()


def test_of_many_that_ask_at_once_one_gets_it(target: Store) -> None:
    got: list[Lease] = []
    refused: list[LeaseHeldError] = []

    def ask() -> None:
        try:
            got.append(acquire(target, "m"))
        except LeaseHeldError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)
    got[0].release()


def test_is_renewed_while_it_is_held(target: Store) -> None:
    with leased(target, "m", seconds=2.0):
        found = read_lease(target)
        assert found is not None
        _wait_until(lambda: (now := read_lease(target)) is not None and now[0].expires > found[0].expires)
        later = read_lease(target)
        assert later is not None
        assert (later[0].owner, later[0].since) == (found[0].owner, found[0].since)
    assert read_lease(target) is None


def test_is_not_taken_over_before_it_has_expired_by_any_clock(target: Store) -> None:
    now = time.time()
    _put(target, LeaseRecord(ELSEWHERE, now - 500, now - leases.SKEW_SECONDS + 10))
    with pytest.raises(LeaseHeldError, match="process 7 on other-host"):
        acquire(target, "m")


def test_is_taken_over_when_it_has_expired(target: Store) -> None:
    now = time.time()
    _put(target, LeaseRecord(ELSEWHERE, now - 500, now - leases.SKEW_SECONDS - 1))
    with leased(target, "m"):
        found = read_lease(target)
        assert found is not None
        assert found[0].owner.pid == os.getpid()


def test_is_taken_over_at_once_when_its_holder_has_ended_on_this_system(target: Store) -> None:
    code = "from ggufactory.assemble.lease_owner import this_run; import json, dataclasses; "
    code += "print(json.dumps(dataclasses.asdict(this_run('m'))))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    owner = Owner(**json.loads(ended.stdout))
    assert is_gone(owner)
    _put(target, LeaseRecord(owner, time.time(), time.time() + 1000))
    acquire(target, "m").release()


def test_the_end_of_a_process_elsewhere_cannot_be_known() -> None:
    here = this_run("m")
    assert not is_gone(here)
    boot, namespace, *rest = here.process.split("/")
    assert not is_gone(replace(here, pid=1 << 22, process=f"{boot}-other/{namespace}/1/1"))
    assert not is_gone(replace(here, pid=1 << 22, process=f"{boot}/pid:[1]/1/1"))
    assert not is_gone(replace(here, pid=1 << 22, process=""))
    # Our process id, and another process had it before.
    assert is_gone(replace(here, process="/".join([boot, namespace, rest[0], "1"])))


def test_a_run_whose_lease_was_taken_over_is_told_and_leaves_the_new_one_alone(target: Store) -> None:
    def run() -> None:
        with leased(target, "m", seconds=0.4) as lease:
            found = read_lease(target)
            assert found is not None
            # As the other run sees it: long expired.
            while leases._write(target, LeaseRecord(ELSEWHERE, time.time(), time.time() + 1000), found[1]) is None:
                found = read_lease(target)
                assert found is not None
            _wait_until(lambda: _is_lost(lease))
            interrupts.check()

    with pytest.raises(LeaseLostError):
        run()
    kept = read_lease(target)
    assert kept is not None
    assert kept[0].owner == ELSEWHERE


def test_a_store_that_is_away_for_a_while_loses_no_lease(target: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = acquire(target, "m", seconds=0.4)
    failures = []

    def away(*_: object, **__: object) -> None:
        failures.append(1)
        raise UnavailableError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(target, "put", away)
        _wait_until(lambda: len(failures) >= 3)
    before = read_lease(target)
    assert before is not None
    _wait_until(lambda: (now := read_lease(target)) is not None and now[0].expires > before[0].expires)
    lease.check()
    lease.release()


def test_one_that_nobody_takes_over_is_cleared_and_a_live_one_is_not(target: Store) -> None:
    now = time.time()
    leases.clear_stale(target)
    _put(target, LeaseRecord(ELSEWHERE, now - 500, now + 100))
    leases.clear_stale(target)
    found = read_lease(target)
    assert found is not None
    assert leases._write(target, LeaseRecord(ELSEWHERE, now - 500, now - 400), found[1])
    leases.clear_stale(target)
    assert target.list() == []


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"owner": {}}', b'{"owner": 1, "since": 0, "expires": 1}', b"[" * 50_000]
)
def test_an_object_that_is_no_lease_is_refused(tmp_path: object, data: bytes) -> None:
    target = open_store(str(tmp_path))
    target.put(LEASE, data)
    with pytest.raises(InputError, match="is not a lease"):
        acquire(target, "m")

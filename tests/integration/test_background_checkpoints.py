"""Checkpoints that are uploaded in the background, and the remote kept to the same few: outages, kills, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from journaling import QUIET, until
from test_background_uploads import World

from holdfast.delivery.delivery import Delivery
from holdfast.delivery.places import Journal, find_run
from holdfast.delivery.status import status_of
from holdfast.delivery.verify import verify
from holdfast.journal.layout import JournalPaths
from holdfast.journal.locks import is_held
from holdfast.journal.options import JournalOptions
from holdfast.testing import FaultProxy
from holdfast.testing.memory_store import MemoryStore
from holdfast.testing.s3 import Account
from holdfast.testing.s3 import S3Access as S3Running

CHECKPOINTS = 50
# Three best, the last, what replaces each of them, and what four threads are about to send.
MOST_KEPT = 10
# Better and worse ones in turn, better in the long run, no two alike.
SCORES = [(number * 0.37) % 1 + number / 25 for number in range(CHECKPOINTS)]

_TRAINER = """
import json, os, sys
from pathlib import Path
from holdfast.artifacts.access import S3Access
from holdfast.delivery.delivery import Delivery
from holdfast.delivery.target import Target

told = json.loads(sys.stdin.readline())
delivery = Delivery(Target.from_json(told["target"]))
access = S3Access.from_json(told["access"])
source = Path(told["source"])

def log(content, name, drop=()):
    source.write_bytes(content)
    removes = [f"c/{other}" for other in drop]
    sources = [(source, f"c/{name}")]
    delivery.hand_over("run", sources, told["root"], access, None, removes, supersedes=True)
    source.write_bytes(b"overwritten")
    return len([name for name in os.listdir(told["files"]) if not name.startswith(".")])

for line in sys.stdin:
    number, is_best, dropped = json.loads(line)
    content = b"%d " % number * 8000
    most = log(content, f"{number}.ckpt", dropped) if is_best else 0
    print(max(most, log(content, "last.ckpt")), flush=True)
"""


class Trainer:
    """A process that hands checkpoints over, one each time it is asked to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, what: object) -> str:
        """Tell it something; return what it answers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def trainer_of(world: World, endpoint_url: str) -> Iterator[Trainer]:
    target = replace(world.target, options=JournalOptions(sync="always"))
    told = {
        "target": target.to_json(),
        "access": replace(world.access(endpoint_url), deadline_s=1.0).to_json(),
        "root": world.root,
        "source": str(world.folder / f"source-{uuid.uuid4().hex[:8]}"),
        "files": str(JournalPaths(world.target.root).files),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _TRAINER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **QUIET},
    )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(told) + "\n")
        yield Trainer(process)
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def world(s3_server: S3Running, tmp_path: Path) -> Iterator[World]:
    account = s3_server.add_account(f"u{uuid.uuid4().hex[:8]}", [f"b{uuid.uuid4().hex[:8]}"])
    found = World(s3_server, account, tmp_path, "http://127.0.0.1:9")
    yield found
    found.kill()


def stored(world: World) -> dict[str, bytes]:
    """Return all that is in the bucket, past every proxy."""
    client = world.s3.client()
    found = client.list_objects_v2(Bucket=world.bucket).get("Contents", ())
    return {
        item["Key"].removeprefix("run/c/"): client.get_object(Bucket=world.bucket, Key=item["Key"])["Body"].read()
        for item in found
    }


def best(upto: int) -> set[int]:
    """Return the three best checkpoints of the first so many."""
    return set(sorted(range(upto), key=SCORES.__getitem__)[-3:])


def step(trainer: Trainer, number: int) -> int:
    """Hand one checkpoint over, and what it puts out of the three best; return how many parcels there were."""
    kept = best(number + 1)
    dropped = [f"{other}.ckpt" for other in best(number) - kept]
    return int(trainer.ask([number, number in kept, dropped]))


def wanted() -> dict[str, bytes]:
    """Return what the store holds in the end."""
    last = {"last.ckpt": b"%d " % (CHECKPOINTS - 1) * 8000}
    return last | {f"{number}.ckpt": b"%d " % number * 8000 for number in best(CHECKPOINTS)}


def test_after_an_outage_and_kills_exactly_the_best_are_there(world: World) -> None:
    counts: list[int] = []
    with FaultProxy(world.s3.endpoint_url) as proxy:
        with trainer_of(world, proxy.url) as trainer:
            counts += [step(trainer, number) for number in range(8)]
            until(lambda: len(stored(world)) >= 2, 30, world.tell)
            proxy.refuse()
            counts += [step(trainer, number) for number in range(8, 24)]
            world.kill()
            counts += [step(trainer, number) for number in range(24, 30)]
            trainer.process.send_signal(signal.SIGKILL)
            trainer.process.wait()
        with trainer_of(world, proxy.url) as trainer:
            counts += [step(trainer, number) for number in range(30, 44)]
            proxy.answer(503)
            counts += [step(trainer, number) for number in range(44, CHECKPOINTS)]
            trainer.process.send_signal(signal.SIGKILL)
        proxy.pass_on()
        world.kill()
        # Whoever comes next goes on with it.
        access = replace(world.access(proxy.url), deadline_s=1.0)
        until(lambda: not is_held(JournalPaths(world.target.root).uploader_lock(access.fingerprint)))
        delivery = Delivery(replace(world.target, shipper="thread"))
        delivery.see_to_uploads(access)
        world.is_empty()
        delivery.close()
    assert stored(world) == wanted()
    assert max(counts) <= MOST_KEPT, counts


def test_a_store_that_lets_nobody_delete_gets_every_checkpoint(s3_server: S3Running, tmp_path: Path) -> None:
    name, bucket = f"u{uuid.uuid4().hex[:8]}", f"b{uuid.uuid4().hex[:8]}"
    account = s3_server.add_account(name, [bucket], denied_actions=["s3:DeleteObject"])
    world = World(s3_server, account, tmp_path, "http://127.0.0.1:9")
    delivery = Delivery(replace(world.target, shipper="thread"))
    hand_over(world, delivery, "a.ckpt", b"first")
    world.is_empty()
    hand_over(world, delivery, "b.ckpt", b"second", ["c/a.ckpt"])
    (parcel,) = world.spool.parcels()
    until(lambda: parcel.is_refused, 30, world.tell)
    assert "s3:DeleteObject" in str(parcel.trouble)
    hand_over(world, delivery, "b.ckpt", b"third")
    until(lambda: len(world.spool.parcels()) == 1, 30, world.tell)
    hand_over(world, delivery, "d.ckpt", b"fourth", ["c/b.ckpt"])
    until(lambda: len(world.spool.parcels()) == 2 and world.spool.parcels()[1].is_refused, 30, world.tell)
    assert stored(world) == {"a.ckpt": b"first", "b.ckpt": b"third", "d.ckpt": b"fourth"}
    # All that was logged is there; what is to be deleted is said, and nobody waits for it.
    assert delivery.settling._files_left({"run"}) == {}
    status_is(world, removals=["c/a.ckpt", "c/b.ckpt"])
    # Stored again: when the deletions are tried again, that one stays.
    hand_over(world, delivery, "a.ckpt", b"fifth")
    until(lambda: len(world.spool.parcels()) == 1, 30, world.tell)
    allow_all(s3_server, account)
    (left,) = world.spool.parcels()
    left.forgive()
    world.is_empty()
    assert stored(world) == {"a.ckpt": b"fifth", "d.ckpt": b"fourth"}
    delivery.close()


def hand_over(world: World, delivery: Delivery, name: str, content: bytes, removes: Sequence[str] = ()) -> None:
    source = world.folder / "source"
    source.write_bytes(content)
    delivery.hand_over("run", [(source, f"c/{name}")], world.root, world.access(), None, removes, supersedes=True)


def status_is(world: World, removals: list[str]) -> None:
    journal = Journal(JournalPaths(world.target.root), world.target.destination)
    (run,) = status_of(journal).runs
    assert [path for item in run.aside for path in item.content["removes"]] == removals
    assert (run.files_waiting, run.removals_waiting) == (0, 0)
    report = verify("run", find_run([journal], "run"), MemoryStore(), lambda _: None)
    assert (report.removals_aside, report.aside) == (len(removals), 0)


def allow_all(s3: S3Running, account: Account) -> None:
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
    iam = s3._client_for("iam", s3.admin)
    iam.put_user_policy(UserName=account.name, PolicyName="own-buckets", PolicyDocument=json.dumps(policy))


@pytest.mark.parametrize("fault", [503, "reset", "drop_answers"])
def test_a_deletion_that_fails_for_now_is_tried_again(world: World, fault: str | int) -> None:
    with FaultProxy(world.s3.endpoint_url) as proxy:
        access = replace(world.access(proxy.url), deadline_s=0.2)
        delivery = Delivery(replace(world.target, shipper="thread"))
        source = world.folder / "source"
        source.write_bytes(b"weights")
        delivery.hand_over("run", [(source, "c/a.ckpt"), (source, "c/b.ckpt")], world.root, access)
        world.is_empty()
        proxy.fail_next(3, fault)
        delivery.hand_over("run", [], world.root, access, None, ["c/a.ckpt", "c/never.ckpt"])
        world.is_empty()
        delivery.close()
    assert stored(world) == {"b.ckpt": b"weights"}

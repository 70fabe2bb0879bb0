"""A journal that release 0.1 wrote: every later release opens it (FORMAT.md is a promise)."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from holdfast.delivery.identity import load_about, load_experiment
from holdfast.delivery.streams import RunStreams
from holdfast.journal.checkpoint import Checkpoint
from holdfast.journal.codec import Kind
from holdfast.journal.filesystem import OsFileSystem
from holdfast.journal.layout import JournalPaths
from holdfast.journal.reader import Damage, Entry, Metrics

FILES = OsFileSystem()
RUN = "local-00112233445566778899aabbccddeeff"


@pytest.fixture
def paths(tmp_path: Path) -> JournalPaths:
    """The journal, copied to where a test may write."""
    shutil.copytree(Path(__file__).parent.parent / "data" / "journal-1", tmp_path / "journal")
    return JournalPaths(tmp_path / "journal")


def test_the_first_formats_records_are_read(paths: JournalPaths) -> None:
    items = [item for _, item in RunStreams(paths, paths.run(RUN), FILES).items(Checkpoint())]
    metrics = [item for item in items if isinstance(item, Metrics)]
    assert [(m.names, m.step, m.time_ms) for m in metrics] == [
        (("loss",), 1, 1_795_000_000_001),
        (("loss", "auc", "größe"), 2, 1_795_000_000_002),
        (("old",), -3, 1_000_000_000_000),
    ]
    assert metrics[0].values == (0.5,)
    assert metrics[1].values[0] == 0.25
    assert math.isnan(metrics[1].values[1])
    assert math.isinf(metrics[1].values[2])
    entries = {item.kind: item.content for item in items if isinstance(item, Entry)}
    assert entries[Kind.ENTITIES] == {
        "m": [["val", 1.5, 1_795_000_000_003, 4, "m-1", "data", "d1"]],
        "p": [["lr", "0.1"]],
        "t": [["note", "üñí"]],
    }
    assert entries[Kind.UPDATE] == {"status": "FINISHED", "end_time": 1_795_000_000_009, "name": None}
    assert set(entries) == set(Kind) - {Kind.METRICS, Kind.METRICS_AT, Kind.NAMES}
    assert not any(isinstance(item, Damage) for item in items)


def test_the_first_formats_notes_are_read(paths: JournalPaths) -> None:
    about = load_about(FILES, paths.run(RUN))
    assert (about.key, about.user, about.name, about.start_time_ms) == ("key-1", "me", "the first", 1_795_000_000_000)
    assert about.tags == {"mlflow.user": "me"}
    experiment = load_experiment(FILES, paths, about.experiment_id)
    assert experiment is not None
    assert (experiment.name, experiment.tags) == ("golden", {"team": "a"})

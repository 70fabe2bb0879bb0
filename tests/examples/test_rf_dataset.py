"""Data sets on disk: the same for any number of workers, whole or not there at all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from holdfast.errors import DataError, InvalidInputError
from holdfast_examples.rf_localization import dataset
from holdfast_examples.rf_localization.dataset import SPLITS, SceneCounts, build, hash_dataset, load
from holdfast_examples.rf_localization.features import measured_of
from holdfast_examples.rf_localization.links import draw_links
from holdfast_examples.rf_localization.scene import SimulatorConfig

CONFIG = SimulatorConfig()
SMALL = SceneCounts(24, 4, 3)

_SCRIPT = """
import sys
from pathlib import Path
from holdfast_examples.rf_localization.dataset import SceneCounts, build
from holdfast_examples.rf_localization.links import draw_links
from holdfast_examples.rf_localization.scene import SimulatorConfig
if __name__ == "__main__":
    counts = SceneCounts(*map(int, sys.argv[2:5]))
    print(build(SimulatorConfig(), 1, counts, Path(sys.argv[1]), workers=int(sys.argv[5])).built)
"""


def _start(tmp_path: Path, counts: SceneCounts, workers: int) -> subprocess.Popen[str]:
    script = tmp_path / "build_it.py"
    script.write_text(_SCRIPT, encoding="utf-8")
    numbers = [str(each) for each in (counts.train, counts.val, counts.test, workers)]
    return subprocess.Popen([sys.executable, script, tmp_path / "sets", *numbers], stdout=subprocess.PIPE, text=True)


def _await(condition: Callable[[], object], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def _equal(first: Path, second: Path) -> bool:
    one, other = load(first), load(second)
    return all(
        np.array_equal(array, getattr(other[split], name))
        for split in SPLITS
        for name, array in vars(one[split]).items()
    )


def test_split() -> None:
    assert SceneCounts.split(6000) == SceneCounts(4200, 900, 900)
    assert SceneCounts.split(101).total == 101


def test_workers_change_nothing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    alone = build(CONFIG, 1, SMALL, tmp_path / "a", workers=1, progress=lambda done, total: seen.append((done, total)))
    together = build(CONFIG, 1, SMALL, tmp_path / "b", workers=2)
    assert alone.key == together.key
    assert _equal(alone.folder, together.folder)
    assert seen == [(20, 31), (24, 31), (28, 31), (31, 31)]
    arrays = load(alone.folder)["train"]
    assert arrays.images.shape == (24, 14, 128, 32)
    assert np.array_equal(measured_of(arrays.measurements).detected, arrays.detected)
    positions = np.concatenate([load(alone.folder)[split].positions for split in SPLITS])
    assert np.array_equal(positions, draw_links(CONFIG, 1, 31).positions)


def test_second_build_is_a_hit(tmp_path: Path) -> None:
    first = build(CONFIG, 2, SceneCounts(2, 1, 1), tmp_path, workers=1)
    stamps = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    second = build(CONFIG, 2, SceneCounts(2, 1, 1), tmp_path, workers=1)
    assert (first.built, second.built) == (True, False)
    assert stamps == {path: path.stat().st_mtime_ns for path in second.folder.iterdir()}


def test_key_is_of_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {hash_dataset(CONFIG, 1, SMALL), hash_dataset(CONFIG, 2, SMALL)}
    keys.add(hash_dataset(CONFIG, 1, SceneCounts(24, 3, 4)))
    keys.add(hash_dataset(replace(CONFIG, noise_dbm=-121.0), 1, SMALL))
    monkeypatch.setattr(dataset, "FEATURE_VERSION", 999)
    keys.add(hash_dataset(CONFIG, 1, SMALL))
    assert len(keys) == 5


def test_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = build(CONFIG, 3, SceneCounts(1, 1, 1), workers=1)
    assert made.folder.parent == tmp_path / ".cache" / "rf_localization"


def test_killed_build_leaves_nothing_whole(tmp_path: Path) -> None:
    counts = SceneCounts(60, 20, 20)
    process = _start(tmp_path, counts, workers=2)
    target = tmp_path / "sets" / hash_dataset(CONFIG, 1, counts)
    _await(lambda: len(psutil.Process(process.pid).children()) >= 2)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert target.with_suffix(".part").is_dir()
    with pytest.raises(DataError, match="no whole data set"):
        load(target)
    _await(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in workers))
    again = build(CONFIG, 1, counts, tmp_path / "sets", workers=1)
    assert again.built
    assert not target.with_suffix(".part").exists()
    assert all((each.positions != 0).all() for each in load(target).values())


def test_two_builds_at_once(tmp_path: Path) -> None:
    counts = SceneCounts(40, 20, 20)
    processes = [_start(tmp_path, counts, workers=1) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(said) == ["False", "True"]
    own = build(CONFIG, 1, counts, tmp_path / "own", workers=1)
    assert _equal(tmp_path / "sets" / own.key, own.folder)


def test_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(CONFIG, 1, SMALL, tmp_path / "sets", workers=1, progress=stop)
    assert [path.suffix for path in (tmp_path / "sets").iterdir()] == [".lock"]


def _shorten(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)


def _change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_shorten, "was written with"),
        (_change, "other numbers than were written"),
        (Path.unlink, "val_measurements.npy is missing"),
    ],
)
def test_damage_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], said: str
) -> None:
    counts = SceneCounts(2, 1, 1)
    first = build(CONFIG, 4, counts, tmp_path, workers=1)
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    harm(first.folder / "val_measurements.npy")
    with pytest.raises(DataError, match=said):
        load(first.folder)
    assert build(CONFIG, 4, counts, tmp_path, workers=1).built
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    assert [said in record.getMessage() for record in caplog.records] == [True]


def test_a_manifest_of_before_is_not_trusted(tmp_path: Path) -> None:
    made = build(CONFIG, 4, SceneCounts(1, 1, 1), tmp_path, workers=1)
    (made.folder / "manifest.json").write_text('{"seed": 4}')
    with pytest.raises(DataError, match="cannot be checked"):
        load(made.folder)
    assert build(CONFIG, 4, SceneCounts(1, 1, 1), tmp_path, workers=1).built


def test_what_cannot_be_built_is_said(tmp_path: Path) -> None:
    counts = SceneCounts(1, 1, 1)
    (tmp_path / hash_dataset(CONFIG, 1, counts)).touch()  # where a folder belongs
    (tmp_path / "file").touch()
    for home in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match="cannot be built") as caught:
            build(CONFIG, 1, counts, home, workers=1)
        assert "--data-dir" in caught.value.hint


def test_a_folder_alone_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no whole data set"):
        load(tmp_path)


def test_bad_numbers_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"train is 0.*seed is -1.*workers is 0"):
        build(CONFIG, -1, SceneCounts(0, 1, 1), tmp_path, workers=0)

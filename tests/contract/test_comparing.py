"""Comparing two versions, on SQLite, on PostgreSQL and on a real MLflow server alike."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from holdfast import MLflowTracker, ModelRegistry, Project, open_project
from holdfast.cli.models_compare import add_to
from holdfast.core.scores import scores_path, to_scores, write_scores
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.registry.comparison.page import page_of
from holdfast.registry.comparison.versions import Comparison, compare

# Nothing here differs between databases.
pytestmark = pytest.mark.backends("sqlite", "http")

HOSTILE = "<script>alert('x')</script>\"onload=\"alert(1)"
# The smallest PNG there is: one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><rect width="9" height="9"/></svg>'


@pytest.fixture
def tracker(tracking_uri: str, unique: str, tmp_path: Path) -> MLflowTracker:
    root = None if tracking_uri.startswith("http") else str(tmp_path / "artifacts")
    return MLflowTracker(tracking_uri=tracking_uri, experiment_name=unique, artifact_uri=root)


@pytest.fixture
def project(tracker: MLflowTracker) -> Project:
    return open_project(tracker.settings)


Register = Callable[..., int]


@pytest.fixture
def register(tracker: MLflowTracker, project: Project, unique: str, tmp_path: Path) -> Register:
    """Log a small model by hand, with what is given, and register it; returns the version."""

    def register(
        columns: dict[str, str] | None = None,
        metrics: dict[str, float] | None = None,
        params: dict[str, str] | None = None,
        scores: list[float] | None = None,
        files: dict[str, bytes] | None = None,
        tags: dict[str, str] | None = None,
    ) -> int:
        folder = tmp_path / "made"
        (folder / "model").mkdir(parents=True, exist_ok=True)
        rows = [{"name": name, "type": kind, "required": True} for name, kind in (columns or {}).items()]
        (folder / "model" / "MLmodel").write_text(
            json.dumps({"flavors": {"python_function": {}}, "signature": {"inputs": json.dumps(rows)}})
        )
        with tracker.run() as run_id:
            tracker.log_artifacts_dir(folder / "model", "model")
            tracker.log_metrics(metrics or {})
            tracker.log_params(params or {})
            if scores is not None:
                path = folder / Path(scores_path("loss")).name
                write_scores(path, to_scores("loss", scores))
                tracker.log_artifact(path, "scores")
            for name, content in (files or {}).items():
                (folder / name).write_bytes(content)
                tracker.log_artifact(folder / name, "plots")
        return ModelRegistry(project).register(unique, f"runs:/{run_id}/model", tags=tags).version

    return register


def rows_of(rows: Any, every: bool = False) -> dict[str, tuple[Any, Any]]:
    return {row.name: (row.a, row.b) for row in rows if every or row.differs}


def test_what_differs(project: Project, register: Register, unique: str) -> None:
    losses = [0.1 * (i % 7) for i in range(60)]
    register({"age": "long", "height": "double"}, {"loss": 0.5, "auc": 0.0}, {"depth": "3", "eta": ".1"}, losses)
    register(
        {"age": "double", "weight": "double"},
        {"loss": 0.4, "auc": 0.25, "f1": 1.0},
        {"depth": "6", "eta": ".1"},
        [loss - 0.1 - 0.01 * (i % 2) for i, loss in enumerate(losses)],
        tags={"team": "b"},
    )
    ModelRegistry(project).promote(unique, 1, "Production")
    found = compare(project, unique, "Production", "latest")
    assert (found.a.version.version, found.b.version.version) == (1, 2)
    metrics = {row.name: row for row in found.metrics}
    assert metrics["loss"].difference == pytest.approx(-0.1)
    assert metrics["loss"].relative == pytest.approx(-0.2)
    paired = metrics["loss"].paired
    assert paired is not None
    assert (paired.n, paired.difference) == (60, pytest.approx(-0.105))
    assert paired.low < -0.105 < paired.high < 0
    assert (metrics["auc"].difference, metrics["auc"].relative, metrics["auc"].paired) == (0.25, None, None)
    assert (metrics["f1"].a, metrics["f1"].b, metrics["f1"].difference) == (None, 1.0, None)
    assert rows_of(found.params) == {"depth": ("3", "6")}
    assert rows_of(found.params, every=True)["eta"] == (".1", ".1")
    assert rows_of(found.tags)["team"] == (None, "b")
    assert rows_of(found.signature) == {
        "inputs: age": ("long", "double"),
        "inputs: height": ("double", None),
        "inputs: weight": (None, "double"),
    }
    assert found.a.checksum.startswith("sha256:")
    assert found.a.checksum != found.b.checksum
    assert found.a.size_bytes == found.a.files["MLmodel"] > 0
    assert found.problems == ()
    same = compare(project, unique, 1, 1)
    assert not rows_of(same.params) | rows_of(same.files) | rows_of(same.signature)
    for bad in (9, "champion"):
        with pytest.raises(NotFoundError):
            compare(project, unique, 1, bad)
    with pytest.raises(InvalidInputError):
        compare(project, unique, 0, 1)


def test_what_is_not_there_or_no_number(
    project: Project, register: Register, unique: str, tracking_uri: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    nan, inf = float("nan"), float("inf")
    register(metrics={"loss": nan, "auc": inf, "zero": 0.0}, scores=[0.5, 0.6])
    register(metrics={"loss": 0.5, "auc": 0.5, "zero": 0.0}, scores=[0.5])
    found = {row.name: row for row in compare(project, unique, 1, 2).metrics}
    assert math.isnan(found["loss"].a or 0)
    assert (found["loss"].difference, found["zero"].difference, found["zero"].relative) == (None, 0.0, None)
    assert (found["loss"].paired, found["loss"].note) == (None, "1 examples have a score in both runs")
    client = MlflowClient(tracking_uri=tracking_uri)
    bare = tmp_path / "bare"
    client.create_model_version(unique, bare.as_posix() if not tracking_uri.startswith("http") else "s3://none/x")
    half = compare(project, unique, 1, 3)
    assert half.b.run is None
    assert any("version 3 has no run" in problem for problem in half.problems)
    assert any("the files of version 3" in problem for problem in half.problems)
    assert found.keys() == {row.name for row in half.metrics}


class Tags(HTMLParser):
    """Collects what a browser would see as markup."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_that_runs_nothing(project: Project, register: Register, unique: str, tmp_path: Path) -> None:
    plots = {"roc.png": PNG, "map.svg": SVG, "huge.png": b"x" * (3 << 20), "notes.txt": b"no image"}
    register({HOSTILE: "long"}, {"loss": 1.0}, {"p": HOSTILE}, files=plots, tags={"t": HOSTILE})
    register({"age": "long"}, {"loss": 2.0}, {"p": "b"}, files=plots | {"only-here.png": PNG})
    found: Comparison = compare(project, unique, 1, 2, with_plots=True)
    assert [plot.path for plot in found.plots] == ["plots/map.svg", "plots/roc.png"]
    assert found.plots_left_out == 1
    for every in (False, True):
        page = page_of(found, every)
        seen = Tags()
        seen.feed(page)
        tags = {tag for tag, _ in seen.found}
        assert not tags & {"script", "iframe", "object", "embed", "link", "a", "form"}
        assert not [name for _, attrs in seen.found for name in attrs if name.startswith("on")]
        images = [attrs["src"] for tag, attrs in seen.found if tag == "img"]
        assert len(images) == 4
        assert all(re.match(r"data:image/(png|svg\+xml);base64,", src or "") for src in images)
        assert "<script" not in page
        assert HOSTILE in seen.text
        policy = next(attrs["content"] for tag, attrs in seen.found if "http-equiv" in attrs)
        assert (policy or "").startswith("default-src 'none'")
        assert not re.search(r"https?://", page)
    assert base64.b64decode((images[0] or "").partition(",")[2]) == SVG


def test_on_the_command_line(register: Register, tracking_uri: str, unique: str, tmp_path: Path) -> None:
    register({"age": "long"}, {"loss": 1.0}, {"p": HOSTILE})
    register({"age": "long"}, {"loss": float("nan")}, {"p": "b"})
    app = typer.Typer()
    app.callback()(lambda: None)
    add_to(app)
    Path(".env").write_text(f"MLFLOW_TRACKING_URI={tracking_uri}\n")
    page = tmp_path / "page.html"

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["compare", unique, *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = run("1", "latest", "--html", str(page))
    assert "version 1 (A) and version 2 (B)" in shown
    assert HOSTILE in shown
    assert "Signature: the same" in shown
    assert page.read_text().startswith("<!doctype html>")
    document = json.loads(run("1", "2", "--json"))
    assert document["metrics"][0] | {"note": ""} == {
        "name": "loss",
        "a": 1.0,
        "b": None,
        "difference": None,
        "relative": None,
        "paired": None,
        "note": "",
    }
    assert [row["name"] for row in document["params"]] == ["p"]
    assert document["signature"] == []
    assert [row["name"] for row in json.loads(run("1", "2", "--json", "--all"))["signature"]] == ["inputs: age"]

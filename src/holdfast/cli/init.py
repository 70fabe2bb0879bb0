"""`holdfast init`: a `.env`, the `[tool.holdfast]` block, and what git has to ignore.

What is there stays as it is, byte for byte: files are created or appended to, never
rewritten, never through a link, and a second run changes nothing. Everything is planned
first, so that a problem with one file stops the command before it has written another.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from holdfast.settings.file_steps import Step

_SECRET_MODE = 0o600
_DOTENV_HEAD = """\
# Settings of this project, for this machine. Not for git: it may hold keys.
# The process's environment wins over this file; this file wins over [tool.holdfast] in pyproject.toml.
# Values are taken as they stand: ${NAME} is not replaced. Put a value with blanks or # in single quotes.
"""
# What a new project starts with; everything else stands in the template as a comment.
_SET_FROM_THE_START = ("delivery",)
_PYPROJECT_HEAD = """\
[tool.holdfast]
# Settings that everybody who works on this project shares. Keys and passwords belong in .env.
"""
_PROMOTION = """\

# What a model version must show before it becomes Production.
# [tool.holdfast.promotion]
# min = { "test/auc" = 0.65 }                          # at least
# max = { "test/log_loss" = 0.69 }                     # at most
# not-below-production = { "test/auc" = 0.005 }        # at most this much below the version in Production
# not-above-production = { "test/log_loss" = 0.0 }     # the same, for metrics where less is better
"""


def init(
    force: Annotated[
        bool, typer.Option("--force", help="Append the names that an existing .env lacks, as comments.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write a .env and a commented [tool.holdfast] block, and keep .env and the journal out of git.

    The .env turns the journal on (HOLDFAST_DELIVERY=journal); all else in it is a comment. Nothing that
    exists is changed, and a second run does nothing. The files go to the project's root: the first
    folder from here upwards with pyproject.toml, .git, setup.py or setup.cfg.

    Example: holdfast init --dry-run
    """
    from holdfast.cli.output import get_output
    from holdfast.settings.file_steps import apply_steps
    from holdfast.settings.folder import find_project_folder

    steps = plan_init(find_project_folder().root, force)
    if not dry_run:
        apply_steps(steps)
    output = get_output(json)
    if json:
        output.data([{"path": str(s.path), "action": s.action, "reason": s.reason, "dry_run": dry_run} for s in steps])
        return
    for step in steps:
        output.line(describe_step(step, dry_run))
    if not dry_run and any(step.action != "keep" for step in steps):
        output.hint("next: fill in .env, then `holdfast config show`")


def describe_step(step: Step, dry_run: bool) -> str:
    """Return what a step does, or would do, as one line."""
    done = {"create": "created", "append": "appended to", "keep": "left as it is:"}[step.action]
    planned = {"create": "would create", "append": "would append to", "keep": "would leave as it is:"}[step.action]
    return f"{planned if dry_run else done} {step.path} ({step.reason})"


def plan_init(root: Path, force: bool = False) -> list[Step]:
    """Return what `init` would write under `root`, in the order of writing; nothing is written yet.

    .gitignore comes first, so that a new `.env` is never visible to git.

    Raises:
        SettingsError: A file is malformed, a folder, a link, or cannot be read; all such problems are told.
    """
    from holdfast.errors import SettingsError
    from holdfast.settings.gitignore import plan_gitignore

    planners: list[Callable[[], Step]] = [
        lambda: plan_gitignore(root / ".gitignore"),
        lambda: _plan_dotenv(root / ".env", force),
        lambda: _plan_pyproject(root / "pyproject.toml"),
    ]
    steps: list[Step] = []
    problems: list[SettingsError] = []
    for plan in planners:
        try:
            steps.append(plan())
        except SettingsError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise SettingsError("Nothing was written:\n  " + "\n  ".join(f"{p.message} ({p.hint})" for p in problems))
    return steps


def _plan_dotenv(path: Path, force: bool) -> Step:
    from holdfast.settings.file_steps import Step, appended, existing_text

    if path.is_symlink() and not path.is_dir():
        return Step(path, "keep", "it is a link")
    before = existing_text(path)
    if before is None:
        return Step(
            path,
            "create",
            "turns the journal on; other settings as comments; readable by you only",
            dotenv_template(),
            _SECRET_MODE,
        )
    missing = missing_names(before)
    if not missing:
        return Step(path, "keep", "it has every name already")
    if not force:
        return Step(path, "keep", "it exists; --force appends the names it lacks, as comments")
    block = "\n# Added by `holdfast init --force`\n" + "".join(_dotenv_lines(name) for name in missing)
    return appended(path, before, block, f"{len(missing)} names as comments")


def missing_names(dotenv: str) -> list[str]:
    """Return the settings of which a `.env` has no name, neither as a value nor in a comment."""
    from holdfast.settings.names import FIELDS

    words = set(re.findall(r"[A-Z0-9_]+", dotenv))
    return [f.name for f in FIELDS if f.families and not words & {n for family in f.families[:1] for n in family}]


def dotenv_template() -> str:
    """Return a new `.env`: every name, nearly all in a comment, with one line on what it is, grouped."""
    from holdfast.settings.names import FIELDS

    parts = [_DOTENV_HEAD]
    group = ""
    for setting in FIELDS:
        if setting.families:
            parts += [f"\n# --- {setting.group} ---\n"] if setting.group != group else []
            parts.append(_dotenv_lines(setting.name, setting.name in _SET_FROM_THE_START))
            group = setting.group
    return "".join(parts)


def _dotenv_lines(name: str, is_set: bool = False) -> str:
    from holdfast.settings.names import BY_NAME

    setting = BY_NAME[name]
    variable, *aliases = setting.families[0]
    also = f" Also: {', '.join(aliases)}." if aliases else ""
    return f"# {setting.summary}{also}\n{'' if is_set else '# '}{variable}={setting.example}\n"


def _plan_pyproject(path: Path) -> Step:
    from holdfast.errors import SettingsError
    from holdfast.settings.file_steps import Step, appended, existing_text

    before = existing_text(path)
    if before is None:
        return Step(path, "create", "settings that the project shares; marks its root", pyproject_block())
    tool = _parsed(before, path).get("tool", {})
    if isinstance(tool, dict) and "holdfast" in tool:
        return Step(path, "keep", "it has [tool.holdfast] already")
    block = pyproject_block() if not before.strip() else "\n" + pyproject_block()
    step = appended(path, before, block, "settings that the project shares")
    try:
        tomllib.loads((before + step.text).removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        raise SettingsError(
            f"{path} has no place for a [tool.holdfast] heading, because 'tool' is closed in it.",
            "write [tool.…] headings instead of tool = { … }",
        ) from None
    return step


def _parsed(text: str, path: Path) -> dict[str, object]:
    from holdfast.errors import SettingsError

    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.", "mend it, then run `holdfast init` again") from None


def pyproject_block() -> str:
    """Return the `[tool.holdfast]` block, every key in a comment; credentials are left out."""
    from holdfast.settings.names import FIELDS

    shared = [setting for setting in FIELDS if setting.families and not setting.is_secret]
    lines = [f"# {setting.key} = {_toml_value(setting.name, setting.example)}\n" for setting in shared]
    return _PYPROJECT_HEAD + "".join(lines) + _PROMOTION


def _toml_value(name: str, example: str) -> str:
    if name == "s3_ignore_tls":
        return example
    if name == "s3_upload_extra_args":
        return '{ ServerSideEncryption = "AES256" }'
    if name == "webhooks":
        return '[{ url = "https://hooks.example.com/models", events = ["moved"] }]'
    return f'"{example}"'

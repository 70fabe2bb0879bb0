"""What a model's MLmodel file says, read without trusting it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from holdfast.registry.gates.answering import NotPassedError
from holdfast.registry.gates.case import Case

NAME = "MLmodel"
# The signature of ten thousand columns takes 1 MB; reading takes a second each.
_MAX_BYTES = 4 << 20
_ABSENT = ("", "null", "~")
# Where flavors name their files; other rows are settings.
_ROWS = ("data", "model_path", "model_data", "pickled_model", "python_model", "code")


def read_mlmodel(case: Case) -> Mapping[str, Any]:
    """Return the candidate's MLmodel file; every scalar is a text, `null` too.

    YAML that says more than texts, lists and tables is read as texts: dates, long numbers and merged tables, which can
    be written so that reading them takes for ever, are nothing MLflow needs here.

    Raises:
        NotPassedError: It is not there, or no MLmodel file.
        HoldfastError: The store cannot be reached.
    """
    import yaml

    content = case.file(NAME).read_bytes()
    if len(content) > _MAX_BYTES:
        raise NotPassedError(f"its MLmodel file has {len(content):,} bytes; no model needs that many. {_AGAIN}")
    try:
        found = yaml.BaseLoader(content.decode()).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f" (line {where.line + 1})"
        raise NotPassedError(f"its MLmodel file is damaged: it is no YAML{line}. {_AGAIN}") from None
    flavors = found.get("flavors") if isinstance(found, Mapping) else None
    if not isinstance(flavors, Mapping) or not any(isinstance(flavor, Mapping) for flavor in flavors.values()):
        raise NotPassedError(f"its MLmodel file is damaged: it names no flavors. {_AGAIN}")
    return dict(found)


_AGAIN = "Log the model again and register that"


def text_of(value: object) -> str:
    """Return a value of the file as text; empty where it is none, or `null`."""
    return value if isinstance(value, str) and value not in _ABSENT else ""


def columns_of(signature: Mapping[str, Any], side: str) -> int:
    """Return how many columns or tensors a signature has at a side, `inputs` or `outputs`; 0 where it says nothing.

    Raises:
        NotPassedError: What it says cannot be read.
    """
    text = text_of(signature.get(side))
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise NotPassedError(f"its signature is damaged: the {side} are no list of columns. {_AGAIN}")
    return len(found)


def named_files(mlmodel: Mapping[str, Any]) -> list[str]:
    """Return the files and folders that an MLmodel file says are beside it, each once."""
    flavors = [flavor for flavor in mlmodel["flavors"].values() if isinstance(flavor, Mapping)]
    named = [text_of(flavor.get(row)) for flavor in flavors for row in _ROWS]
    for flavor in flavors:
        named += _nested(flavor)
    example = mlmodel.get("saved_input_example_info")
    if isinstance(example, Mapping):
        named += [text_of(example.get(row)) for row in ("artifact_path", "serving_input_path")]
    return [NAME, *dict.fromkeys(path for path in named if path)]


def _nested(flavor: Mapping[str, Any]) -> Iterator[str]:
    env, artifacts = flavor.get("env"), flavor.get("artifacts")
    yield from map(text_of, env.values()) if isinstance(env, Mapping) else [text_of(env)]
    for artifact in artifacts.values() if isinstance(artifacts, Mapping) else ():
        if isinstance(artifact, Mapping):
            yield text_of(artifact.get("path"))

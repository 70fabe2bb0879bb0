"""MLflow's REST messages, written and read without protobuf."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring as quoted
from typing import Any, TypeVar

from holdfast.backend.sendable import check_int64, check_text
from holdfast.core.sending import ExperimentRef, Point, RunRef

# As JSON cannot write them and protobuf reads them.
_NOT_FINITE = {"nan": '"NaN"', "inf": '"Infinity"', "-inf": '"-Infinity"'}
_LAST = 2**63 - 1
_T = TypeVar("_T")


def batch_request(
    run_id: str, metrics: Iterable[Point], params: Iterable[tuple[str, str]], tags: Iterable[tuple[str, str]]
) -> bytes:
    """Return the request `log-batch`, written by hand: half of what `json.dumps` takes for a dict a metric.

    Raises:
        Refused: A step, a time or a text is none that MLflow can hold.
    """
    names: dict[str, str] = {}
    parts = []
    for key, value, timestamp, step, extra in metrics:
        if not (-_LAST <= step <= _LAST and -_LAST <= timestamp <= _LAST):
            check_int64(step=step, timestamp=timestamp)
        name = names.get(key) or names.setdefault(key, quoted(key))
        number = repr(float(value))
        number = _NOT_FINITE.get(number, number)
        more = _extra(extra) if extra else ""
        parts.append(f'{{"key":{name},"value":{number},"timestamp":{timestamp:d},"step":{step:d}{more}}}')
    rest = compact({"params": pairs(params), "tags": pairs(tags)})
    return check_text(f'{{"run_id":{quoted(run_id)},"metrics":[{",".join(parts)}],{rest[1:]}')


def compact(body: Mapping[str, Any]) -> str:
    """Return the body of a request as JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _extra(extra: tuple[str | None, str | None, str | None]) -> str:
    names = ("model_id", "dataset_name", "dataset_digest")
    return "".join(f',"{name}":{quoted(value)}' for name, value in zip(names, extra, strict=True) if value is not None)


def pairs(items: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in items]


def page_of(name: str, read: Callable[[Any], _T]) -> Callable[[Any], tuple[list[_T], str]]:
    return lambda answer: ([read(item) for item in answer.get(name, ())], answer.get("next_page_token") or "")


def experiment_of(said: Mapping[str, Any]) -> ExperimentRef:
    deleted = said.get("lifecycle_stage") == "deleted"
    return ExperimentRef(str(said["experiment_id"]), said["name"], said.get("artifact_location", ""), deleted)


def run_of(said: Mapping[str, Any]) -> RunRef:
    info, data = said["info"], said.get("data", {})
    end = info.get("end_time")
    return RunRef(
        run_id=info["run_id"],
        experiment_id=str(info["experiment_id"]),
        name=info.get("run_name", ""),
        status=info.get("status", "RUNNING"),
        start_time_ms=int(info.get("start_time", 0)),
        end_time_ms=None if end is None else int(end),
        artifact_uri=info.get("artifact_uri", ""),
        deleted=info.get("lifecycle_stage") == "deleted",
        params=_mapping(data.get("params", ())),
        metrics={item["key"]: float(item.get("value", 0.0)) for item in data.get("metrics", ())},
        tags=_mapping(data.get("tags", ())),
    )


def _mapping(pairs: Iterable[Mapping[str, str]]) -> dict[str, str]:
    return {pair["key"]: pair.get("value", "") for pair in pairs}


def point_of(said: Mapping[str, Any]) -> Point:
    # int64 is a number in MLflow's JSON and a text in protobuf's own; float() reads "NaN" and "Infinity".
    return Point(said["key"], float(said.get("value", 0.0)), int(said.get("timestamp", 0)), int(said.get("step", 0)))


def output_ids(answer: Mapping[str, Any]) -> set[str]:
    return {output["model_id"] for output in answer["run"].get("outputs", {}).get("model_outputs", ())}

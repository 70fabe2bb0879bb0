"""Sends a batch or a single record, and finds out what in it the server refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from holdfast.core.sending import Point, Refused, Sender, Unavailable
from holdfast.delivery.aside import Aside, aside
from holdfast.delivery.batches import Batch
from holdfast.journal.codec import Kind

_Part = tuple[str, Any]


Judge = Callable[[Unavailable], Refused | Unavailable]


def _as_it_is(error: Unavailable) -> Refused | Unavailable:
    return error


def send_batch(sender: Sender, run_id: str, batch: Batch, judge: Judge = _as_it_is) -> list[Aside]:
    """Store a batch; return what in it the server refuses for good.

    A refused batch is halved until what is refused stands alone, so that the rest is stored.

    Args:
        sender: The server.
        run_id: The run there.
        batch: What to store.
        judge: Says whether a failure is to be taken for a refusal.

    Raises:
        Refused: The run itself is refused.
        Unavailable: The server cannot be reached.
    """
    parts: list[_Part] = [("metric", point) for point in batch.metrics]
    parts += [("param", item) for item in batch.params.items()]
    parts += [("tag", item) for item in batch.tags.items()]
    return _send_parts(sender, run_id, parts, judge)


def _send_parts(sender: Sender, run_id: str, parts: Sequence[_Part], judge: Judge = _as_it_is) -> list[Aside]:
    metrics = [value for what, value in parts if what == "metric"]
    params = [value for what, value in parts if what == "param"]
    tags = [value for what, value in parts if what == "tag"]
    try:
        with _judged(judge):
            sender.log_batch(run_id, metrics, params, tags)
    except Refused as refusal:
        if refusal.about_run:
            raise
        if len(parts) == 1:
            what, value = parts[0]
            return [aside(what, list(value), refusal.reason)]
        middle = len(parts) // 2
        return [
            *_send_parts(sender, run_id, parts[:middle], judge),
            *_send_parts(sender, run_id, parts[middle:], judge),
        ]
    return []


@contextmanager
def _judged(judge: Judge) -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise judge(error) from None


def send_single(
    sender: Sender, run_id: str, kind: Kind, content: Mapping[str, Any], judge: Judge = _as_it_is
) -> list[Aside]:
    """Store a record that is a request of its own; return it where the server refuses it for good.

    Raises:
        Refused: The run itself is refused.
        Unavailable: The server cannot be reached.
    """
    try:
        with _judged(judge):
            _send(sender, run_id, kind, content)
    except Refused as refusal:
        if refusal.about_run:
            raise
        return [aside(_NAMES[kind], dict(content), refusal.reason)]
    return []


_NAMES = {
    Kind.UPDATE: "update",
    Kind.INPUTS: "inputs",
    Kind.OUTPUTS: "outputs",
    Kind.MODEL: "model",
    Kind.DELETE_TAG: "deleted tag",
}


def _send(sender: Sender, run_id: str, kind: Kind, content: Mapping[str, Any]) -> None:
    if kind is Kind.UPDATE:
        sender.update_run(run_id, content.get("status"), content.get("end_time"), content.get("name"))
    elif kind is Kind.INPUTS:
        sender.log_inputs(run_id, content)
    elif kind is Kind.OUTPUTS:
        sender.log_outputs(run_id, content)
    elif kind is Kind.MODEL:
        sender.log_model(run_id, content["json"])
    else:
        sender.delete_tag(run_id, content["key"])


def resend(sender: Sender, run_id: str, item: Aside) -> Aside | None:
    """Try something again that was set aside; return it with the new reason where it is refused again.

    Raises:
        Refused: The run itself is refused.
        Unavailable: The server cannot be reached.
    """
    kinds = {name: kind for kind, name in _NAMES.items()}
    if item.what in kinds:
        refused = send_single(sender, run_id, kinds[item.what], item.content)
    elif item.what == "metric":
        key, value, timestamp, step, extra = item.content
        point = Point(key, value, timestamp, step, tuple(extra) if extra else None)
        refused = _send_parts(sender, run_id, [("metric", point)])
    else:
        refused = _send_parts(sender, run_id, [(item.what, tuple(item.content))])
    return refused[0] if refused else None

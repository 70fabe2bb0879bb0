"""The history as an outbox: what a webhook has not been told yet is posted, in order, at least once.

How far a webhook has come stands in a tag of the history's run, so that whoever changes the model next, on whatever
machine, goes on there. The tag is written after the post: a process that is killed in between posts again, under the
same `webhook-id`. Two that post at once may both post an event, and neither posts a later one first. A webhook that is
new begins with the event that is written next.

An event that a server refuses for good (4xx) five times is given up, so that later ones are not held up for ever; its
number is kept in the tag. It is never lost: it stays in the history.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from holdfast.artifacts.team import in_parallel
from holdfast.backend.history import HistoryRun
from holdfast.core.history import Event, read_event
from holdfast.core.ledger import as_ranges, from_ranges
from holdfast.errors import HoldfastError, SettingsError
from holdfast.logs import get_logger
from holdfast.project import Project
from holdfast.registry.history.patience import within
from holdfast.registry.history.webhooks import Answer, Webhook, post, webhooks_of

_log = get_logger(__name__)
TAG_PREFIX = "holdfast.webhook."
_LIMIT_S = 5.0
_GIVE_UP_AFTER = 5
_SAVE_EVERY = 20


@dataclass(frozen=True)
class Cursor:
    """How far a webhook has come with one history.

    Attributes:
        delivered: The last event that needs no further look.
        tries: How often the next one was refused for good.
        said: Why the last attempt failed; empty where it worked.
        not_before: Until when the server asks to be left alone, seconds since the epoch.
        dead: The events that were given up.
    """

    delivered: int
    tries: int = 0
    said: str = ""
    not_before: float = 0.0
    dead: tuple[int, ...] = ()

    def to_tag(self) -> str:
        """Return it as a tag's value."""
        fields = {**asdict(self), "dead": as_ranges(self.dead)}
        return json.dumps({key: value for key, value in fields.items() if value or key == "delivered"})

    @classmethod
    def from_tag(cls, text: str | None) -> Cursor | None:
        """Read a tag's value; None where there is none, or somebody wrote something else there."""
        try:
            fields: dict[str, Any] = json.loads(text or "")
            fields["dead"] = tuple(from_ranges(str(fields.get("dead", ""))))
            return cls(**fields)
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True)
class Standing:
    """How a webhook stands with a model's history.

    Attributes:
        model: The registered model.
        webhook: The webhook's host.
        delivered: How many events were posted by this call.
        pending: Those that wait, by number.
        dead: Those that were given up.
        said: Why the last attempt failed; empty where it worked.
        wait_s: How long the server asks to be left alone.
    """

    model: str
    webhook: str
    delivered: int
    pending: tuple[int, ...]
    dead: tuple[int, ...]
    said: str
    wait_s: float = field(default=0.0)


class Outbox:
    """Tells a project's webhooks.

    Args:
        project: Whose. Without webhooks in its settings, nothing here makes a request.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._hooks = webhooks_of(project.settings.webhooks)
        self._has_warned = False

    def hooks_for(self, model: str) -> list[Webhook]:
        """Return the webhooks that are told of a model."""
        return [hook for hook in self._hooks if hook.is_for(model)]

    def begin(self, model: str, kept: HistoryRun) -> None:
        """Note for each new webhook where it begins, before an event is written; so a kill after that loses none.

        Raises:
            BackendError: The registry is out of reach.
        """
        for hook in self.hooks_for(model):
            if Cursor.from_tag(kept.tags.get(_tag(hook))) is None:
                self._project.histories.set_tag(kept.run_id, _tag(hook), Cursor(len(kept.texts)).to_tag())

    def deliver(self, model: str, run_id: str) -> None:
        """Post what waits, once, after a change; five seconds at most. What fails is said, and left for later."""
        hooks = self.hooks_for(model)
        if not hooks or not self._may_sign():
            return
        try:
            found = within(_LIMIT_S, lambda _: self._post_all(model, run_id, hooks))
            trouble = [f"{item.webhook}: {item.said}" for item in found if item.said]
        except (HoldfastError, TimeoutError) as error:
            trouble = [error.message if isinstance(error, HoldfastError) else str(error)]
        if trouble:
            _log.warning(
                "not all webhooks were told",
                model=model,
                reason=self._project.redact("; ".join(trouble)),
                hint=f"the next change tells them, or: holdfast models notify {model}",
            )

    def send(self, model: str, run_id: str) -> list[Standing]:
        """Make one attempt with each webhook at all that waits.

        Raises:
            SettingsError: There is nothing to sign with.
            BackendError: The registry is out of reach.
        """
        if not self._secret:
            raise SettingsError(
                "Events for webhooks are signed, and there is no secret.", "set HOLDFAST_WEBHOOK_SECRET"
            )
        return self._post_all(model, run_id, self.hooks_for(model))

    def standing(self, model: str, run_id: str) -> list[Standing]:
        """Return how each webhook stands; nothing is posted."""
        kept = self._project.histories.read(run_id)
        return [_standing(model, hook, _cursor(hook, kept), kept, 0) for hook in self.hooks_for(model)]

    # -- inside -----------------------------------------------------------------------

    @property
    def _secret(self) -> str:
        secret = self._project.settings.webhook_secret
        return "" if secret is None else secret.get_secret_value()

    def _may_sign(self) -> bool:
        if not self._secret and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "webhooks are not told from here, for there is nothing to sign with",
                hint="set HOLDFAST_WEBHOOK_SECRET; until then the events wait",
            )
        return bool(self._secret)

    def _post_all(self, model: str, run_id: str, hooks: list[Webhook]) -> list[Standing]:
        import threading

        # Read anew: others may have told them meanwhile, or written more.
        kept = self._project.histories.read(run_id)
        tasks = (partial(self._post_pending, model, kept, hook) for hook in hooks)
        return in_parallel(tasks, max(1, len(hooks)), threading.Event())

    def _post_pending(self, model: str, kept: HistoryRun, hook: Webhook) -> Standing:
        begun = _cursor(hook, kept)
        if begun.not_before > time.time():
            return _standing(model, hook, begun, kept, 0)
        cursor, posted = replace(begun, said="", not_before=0.0), 0
        save = partial(self._save, kept, hook)
        for number in range(begun.delivered + 1, len(kept.texts) + 1):
            event = _event(kept.texts[number - 1])
            if event is None or not hook.wants(event):
                cursor = replace(cursor, delivered=number)
                continue
            cursor, is_over = _after(post(hook, self._secret, event), cursor, number)
            posted += not is_over and number not in cursor.dead
            if is_over:
                break
            if posted and posted % _SAVE_EVERY == 0:
                save(cursor)
        skipped = cursor.delivered - begun.delivered
        if posted or cursor.said or cursor.dead != begun.dead or skipped > _SAVE_EVERY:
            save(cursor)
        return _standing(model, hook, cursor, kept, posted)

    def _save(self, kept: HistoryRun, hook: Webhook, cursor: Cursor) -> None:
        self._project.histories.set_tag(kept.run_id, _tag(hook), cursor.to_tag())


def _after(answer: Answer, cursor: Cursor, number: int) -> tuple[Cursor, bool]:
    """Return the cursor after an attempt, and whether those behind it must wait."""
    if answer.is_ok:
        return replace(cursor, delivered=number, tries=0), False
    if not answer.is_final:
        not_before = time.time() + answer.wait_s if answer.wait_s else 0.0
        return replace(cursor, said=answer.reason, not_before=not_before), True
    if cursor.tries + 1 < _GIVE_UP_AFTER:
        return replace(cursor, tries=cursor.tries + 1, said=answer.reason), True
    said = f"{answer.reason}: event {number} is given up after {_GIVE_UP_AFTER} attempts"
    return replace(cursor, delivered=number, tries=0, said=said, dead=(*cursor.dead, number)), False


def _tag(hook: Webhook) -> str:
    return f"{TAG_PREFIX}{hook.key}"


def _cursor(hook: Webhook, kept: HistoryRun) -> Cursor:
    """Return how far it has come; one that nobody has seen yet begins with what is written next."""
    return Cursor.from_tag(kept.tags.get(_tag(hook))) or Cursor(len(kept.texts))


def _event(text: str) -> Event | None:
    with suppress(HoldfastError):
        return read_event(text)
    return None  # somebody changed it; the audit says so


def _standing(model: str, hook: Webhook, cursor: Cursor, kept: HistoryRun, posted: int) -> Standing:
    waiting = [
        number
        for number in range(cursor.delivered + 1, len(kept.texts) + 1)
        if (event := _event(kept.texts[number - 1])) is not None and hook.wants(event)
    ]
    wait_s = max(0.0, cursor.not_before - time.time())
    return Standing(model, hook.shown, posted, tuple(waiting), cursor.dead, cursor.said, wait_s)

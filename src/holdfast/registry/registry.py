"""The registry's native API: versions, stages, gates, approvals, history and rollback, with typed values and errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.backend.entities import ModelVersion, RegisteredModel
from holdfast.core.history import Event
from holdfast.core.names import as_version_or_word, check_description, check_model_name
from holdfast.core.policy import PromotionPolicy, parse_policy
from holdfast.core.promotion import CheckAnswer, PromotionRule
from holdfast.core.stages import Stage, parse_stage
from holdfast.errors import NotFoundError
from holdfast.project import Project
from holdfast.registry.changes.deleting import delete_version
from holdfast.registry.changes.labels import (
    check_first_tags,
    check_own_tags,
    remove_alias,
    remove_tag,
    set_alias,
    set_tag,
)
from holdfast.registry.changes.moving import Mover
from holdfast.registry.changes.promoting import Promoter, Promotion
from holdfast.registry.changes.registering import record_registration
from holdfast.registry.changes.repairing import Repair, Repairs
from holdfast.registry.changes.rolling_back import Rollback
from holdfast.registry.gates.approval import Approvals
from holdfast.registry.hiding import hide, hide_tags
from holdfast.registry.history.approvals import Review, Reviews
from holdfast.registry.history.export import events_of
from holdfast.registry.lookup import find_in_stage, find_version, with_stage
from holdfast.registry.serving.loading import load_wanted
from holdfast.registry.sources import find_source


class ModelRegistry:
    """The native API: typed values, typed errors.

    Args:
        project: Whose registry.
        rule: What must be so before a version may move. None takes `[tool.holdfast.promotion]`; a
            `PromotionPolicy()` asks nothing; a `PromotionRule` stands for one about metrics alone.
    """

    def __init__(self, project: Project, rule: PromotionPolicy | PromotionRule | None = None) -> None:
        self._project = project
        given = PromotionPolicy.of_rule(rule) if isinstance(rule, PromotionRule) else rule
        self.policy = given if given is not None else parse_policy(project.settings.promotion)
        self._mover = Mover(project)
        self._promoter = Promoter(project, self.policy, self._mover)
        self._reviews = Reviews(project, self.policy, self._mover)

    # -- reading ----------------------------------------------------------------------

    def models(self) -> list[RegisteredModel]:
        """Return all registered models, by name."""
        return self._project.models.models()

    def versions(self, name: str) -> list[ModelVersion]:
        """Return all versions of a model, the newest first.

        Raises:
            NotFoundError: There is no such model.
        """
        check_model_name(name)
        found = [with_stage(item) for item in self._project.models.versions(name)]
        if not found and self._project.models.find_model(name) is None:
            raise NotFoundError(f"There is no registered model {name!r}.", "see `holdfast models list`")
        return found

    def get(self, name: str, version: int | str) -> ModelVersion:
        """Return one version.

        Args:
            name: The registered model.
            version: Its number, a stage (the newest version in it), an alias, or `latest`.

        Raises:
            NotFoundError: There is none.
        """
        return find_version(self._project, name, version)

    def find(self, name: str, stage: Stage) -> ModelVersion | None:
        """Return the newest version in a stage, or None."""
        return find_in_stage(self._project, name, stage)

    def metrics_of(self, version: ModelVersion) -> dict[str, float]:
        """Return the metrics of the run a version came from; empty where it has no run, or the run is gone."""
        if not version.run_id:
            return {}
        try:
            return self._project.runs.get_run(version.run_id).metrics
        except NotFoundError:
            return {}

    def history(self, name: str) -> tuple[Event, ...]:
        """Return what was ever done to a model, the oldest first; empty where Holdfast has never changed it.

        Raises:
            NotFoundError: There is no such model.
            HistoryError: Its history is gone or damaged.
        """
        return events_of(self._project, name)

    def load_model(self, name: str, version: int | str = "Production", *, flavor: str = "pyfunc") -> Any:
        """Load a version, from the cache by checksum where it is there.

        Args:
            name: The registered model.
            version: A number, `latest`, a stage, an alias.
            flavor: As which of MLflow's flavors it is loaded; see `holdfast.load_model`.

        Raises:
            HoldfastError: There is no such version, or its files are missing or are not what was registered.
        """
        return load_wanted(self._project, name, version, flavor=flavor)[0]

    def requests(self, name: str) -> list[Review]:
        """Return the requests that stand, with who has approved so far.

        Raises:
            NotFoundError: There is no such model.
            HistoryError: Its history is gone or damaged.
        """
        check_model_name(name)
        return self._reviews.of(name, self._mover.peek(name).ledger)

    # -- writing ----------------------------------------------------------------------

    def register(
        self,
        name: str,
        model_uri: str,
        description: str | None = None,
        tags: Mapping[str, object] | None = None,
        await_s: int = 300,
    ) -> ModelVersion:
        """Register a model that was logged as the next version of `name`.

        Args:
            name: The registered model; created where it is missing.
            model_uri: `runs:/ID/path`, `models:/m-…`, or where an MLmodel file lies.
            description: What this version is. It also becomes the model's, where that has none.
            tags: Tags of the version; values are stored as text.
            await_s: How long to wait until it is ready, in seconds.

        Raises:
            InvalidInputError: A name, tag or URI has a form that MLflow refuses, or there is no model there.
            BackendError: It did not get ready in time, or the registry refused it.
            DeliveryError: Not all that this process has logged is on the server yet, or files of the model's run wait.
        """
        check_model_name(name)
        labels = {key: str(value) for key, value in (tags or {}).items()}
        check_first_tags(name, labels)
        check_description(description or "")
        self._project.settle()
        source = find_source(self._project, model_uri)
        if source.run_id is not None:
            self._project.settle_files(source.run_id)
        text = hide(self._project, description or "")
        store = self._project.models
        store.ensure_model(name)
        made = store.create_version(
            name, source.uri, source.run_id, source.model_id, text, hide_tags(self._project, labels), await_s
        )
        if source.model_id is not None:
            self._project.runs.note_registration(source.model_id, name, made.version)
        model = store.find_model(name)
        if text and model is not None and not model.description:
            store.describe_model(name, text)
        record_registration(self._project, self._mover, made)
        return with_stage(made)

    def check(
        self, name: str, version: int | str, stage: str | Stage | None = Stage.PRODUCTION
    ) -> tuple[CheckAnswer, ...]:
        """Ask what a promotion would ask, and change nothing; of a version that is there already, the gates alone.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            stage: Where it would go.

        Raises:
            RegistryError: The version is not ready.
            NotFoundError: There is no such version.
        """
        target = parse_stage(stage)
        look, number = self._mover.peek(name), self._number(name, version)
        answers = self._promoter.check(look, number, target)
        is_there = look.ledger.version(number).stage is target
        return tuple(item for item in answers if not (is_there and item.check == Approvals.name))

    def stage_of(self, name: str, version: int | str) -> Stage:
        """Return the stage a version is in by the model's history, whatever was changed by hand since.

        Raises:
            NotFoundError: There is no such version.
        """
        return self._mover.peek(name).ledger.version(self._number(name, version)).stage

    def promote(
        self,
        name: str,
        version: int | str,
        stage: str | Stage | None,
        *,
        reason: str = "",
        override: str | None = None,
    ) -> Promotion:
        """Move a version to a stage: MLflow's stage, alias and tag together, and an event in the history.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            stage: None, Staging, Production or Archived, in any case. The versions that were in
                Staging or Production before become Archived.
            reason: Why; it is kept in the history.
            override: Why gates that refuse shall not count this time; kept in the history. It does not stand for
                approvals, nor for transitions that are not allowed.

        Returns:
            What was done. Where the version is in that stage already, nothing is, and no event is written.

        Raises:
            PromotionRefusedError: A gate, the approvals or the allowed transitions say no; nothing was changed.
            RegistryError: The version is not ready.
            NotFoundError: There is no such version.
            BackendError: The registry is out of reach. Where the promotion was recorded by then, the next call
                finishes it.
            DeliveryError: Not all that this process has logged is on the server yet, or files of the model's run wait.
        """
        target = parse_stage(stage)
        self._project.settle()
        return self._promoter.promote(name, self._number(name, version), target, reason, override)

    def rollback(self, name: str, to: int | str | None = None, *, reason: str = "") -> Promotion:
        """Take a model back to an earlier Production version, once its files are found whole and it loads.

        Args:
            name: The registered model.
            to: A number or an alias; the version that was Production before the present one, if not given.
            reason: Why; it is kept in the history.

        Raises:
            RegistryError: There is no version to go back to, or it cannot be served; nothing was changed.
        """
        number = None if to is None else self._number(name, to)
        check_model_name(name)
        return Rollback(self._project, self._mover).run(name, number, reason)

    def request(
        self, name: str, version: int | str, stage: str | Stage | None = Stage.PRODUCTION, *, reason: str = ""
    ) -> Review:
        """Ask that others approve a version for a stage; it is about the files as they are now.

        Asking again takes the place of an earlier request for that stage, with the approvals it had.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            stage: Where it is to go.
            reason: Why; it is kept in the history.

        Raises:
            PromotionRefusedError: The allowed transitions say no.
            RegistryError: The version is not ready, or is in that stage already.
            ArtifactError: Its files cannot be read.
        """
        target = parse_stage(stage)
        self._project.settle()
        return self._reviews.request(name, self._number(name, version), target, reason)

    def approve(self, name: str, version: int | str, stage: str | Stage | None = None, *, reason: str = "") -> Review:
        """Approve a version's files as they are now, once; whoever has approved them already changes nothing.

        Who approves is who the settings say (`HOLDFAST_USER`, the login, git's address): a stock MLflow server does not
        verify it.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            stage: For which stage; may be left out where one is asked for.
            reason: Why; it is kept in the history.

        Raises:
            RegistryError: Nobody has asked for it.
            PromotionRefusedError: It is one's own request, or the files have changed since it was made.
            ArtifactError: The files cannot be read.
        """
        target = None if stage is None else parse_stage(stage)
        return self._reviews.approve(name, self._number(name, version), target, reason)

    def reject(self, name: str, version: int | str, stage: str | Stage | None = None, *, reason: str) -> Review:
        """Reject a request, or withdraw one's own; it takes a new request to be asked again.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            stage: For which stage; may be left out where one is asked for.
            reason: Why; it is kept in the history.

        Raises:
            InvalidInputError: There is no reason.
            RegistryError: Nobody has asked for it.
        """
        target = None if stage is None else parse_stage(stage)
        return self._reviews.reject(name, self._number(name, version), target, reason)

    def delete(self, name: str, version: int | str, force: bool = False, *, reason: str = "") -> Event:
        """Delete a version; its files stay where they are.

        Args:
            name: The registered model.
            version: A number, or `latest`, a stage, an alias.
            force: Whether it is to go though it is in Staging or Production, has an alias, is what a rollback would
                go back to, or is approved. The history says what it was.
            reason: Why; it is kept in the history.

        Raises:
            RegistryError: Something speaks for keeping it; nothing was changed.
            NotFoundError: There is no such version.
        """
        return delete_version(self._mover, name, self._number(name, version), force, reason)

    def set_alias(self, name: str, alias: str, version: int | str, *, reason: str = "") -> Event | None:
        """Point an alias at a version; None where it points there already.

        Raises:
            InvalidInputError: The alias has a form that MLflow refuses, or is one of `production` and `staging`, which
                move with the stage.
            NotFoundError: There is no such version.
        """
        return set_alias(self._mover, name, alias, self._number(name, version), reason)

    def remove_alias(self, name: str, alias: str, *, reason: str = "") -> Event | None:
        """Take an alias away; None where it is not set.

        Raises:
            InvalidInputError: As of `set_alias`.
        """
        return remove_alias(self._mover, check_model_name(name), alias, reason)

    def set_tag(self, name: str, version: int | str, key: str, value: object, *, reason: str = "") -> Event | None:
        """Set a tag of a version, as text; None where it is set so already.

        Raises:
            InvalidInputError: Key or value have a form or length that MLflow refuses or that the history cannot keep,
                or the key begins with `holdfast.`.
            NotFoundError: There is no such version.
        """
        check_own_tags(name, {key: str(value)})
        shown = hide_tags(self._project, {key: str(value)})[key]
        return set_tag(self._mover, name, self._number(name, version), key, shown, reason)

    def remove_tag(self, name: str, version: int | str, key: str, *, reason: str = "") -> Event | None:
        """Remove a tag of a version; None where it is not set.

        Raises:
            InvalidInputError: As of `set_tag`.
            NotFoundError: There is no such version.
        """
        return remove_tag(self._mover, name, self._number(name, version), key, reason)

    def repair(
        self, name: str, accept: bool = False, dry_run: bool = False, *, reason: str = "", begin_anew: bool = False
    ) -> Repair:
        """Bring stage, alias and tag, and the aliases and tags that were set here, back in step with the history.

        What the history has lost is brought back from its copies in the artifact store first, and copies that are
        missing are written; a history that was changed in the database goes on in a run of its own, with the events as
        the copies have them. Versions and aliases that came or went around Holdfast are recorded. A model that has no
        history, or another one's, begins one. Where nothing is out of step, nothing is written.

        Args:
            name: The registered model.
            accept: Whether the registry is right and not the history: it is then taken as it is.
            dry_run: Whether to say only what there is to do.
            reason: Why; it is kept in the history.
            begin_anew: Whether a history that is damaged, or gone, and whose copies are not whole either, may begin
                anew, knowing nothing of the past.

        Raises:
            HistoryError: The history is damaged or gone, and its copies are not whole.
            NotFoundError: There is no such model.
            BackendError: The registry is out of reach; what was recorded by then is carried out by the next call.
        """
        check_model_name(name)
        repairs = Repairs(self._project, self._mover)
        return repairs.examine(name) if dry_run else repairs.run(name, accept, reason, begin_anew)

    def _number(self, name: str, version: int | str) -> int:
        """Return the number of the version that is meant; only a word needs a look."""
        check_model_name(name)
        wanted = as_version_or_word(version)
        return wanted if isinstance(wanted, int) else self.get(name, wanted).version

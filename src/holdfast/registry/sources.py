"""From the URI a user gives to what the registry stores: the model's place, run and id."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.uris import join_uri, normalize_model_uri, scheme_of
from holdfast.errors import InvalidInputError
from holdfast.project import Project
from holdfast.registry.lookup import find_version


@dataclass(frozen=True)
class ModelSource:
    """Where a version's artifacts lie, and what they came from.

    Attributes:
        uri: `models:/m-…` for a model MLflow logged as such, else the artifacts' own URI.
        run_id: The run that made it, if any.
        model_id: Its LoggedModel's id, if any.
    """

    uri: str
    run_id: str | None = None
    model_id: str | None = None


def find_source(project: Project, model_uri: str) -> ModelSource:
    """Find the model that a URI means.

    Args:
        project: Where to look.
        model_uri: `runs:/ID/path` (`runs://` too), `models:/m-…`, `models:/NAME/3`, or where an MLmodel file lies.

    Raises:
        InvalidInputError: The form is wrong, or there is no model at that place.
        NotFoundError: There is no such run or model.
    """
    uri = normalize_model_uri(model_uri)
    kind = scheme_of(uri)
    rest = uri.partition(":/")[2]
    if kind == "runs":
        run_id, _, path = rest.partition("/")
        return _of_run(project, run_id, path)
    if kind == "models":
        return _of_model(project, uri, rest)
    if "MLmodel" not in _names(project, uri, ""):
        raise InvalidInputError(f"There is no model at {uri}: it holds no MLmodel file.", _HOW_TO_LOG)
    return ModelSource(uri)


_HOW_TO_LOG = "log one with mlflow.sklearn.log_model, mlflow.xgboost.log_model … and give the URI it returns"


def _of_run(project: Project, run_id: str, path: str) -> ModelSource:
    project.settle_files(run_id)  # the model may be among what was handed over
    run = project.runs.get_run(run_id)
    model_id = project.runs.find_logged_model(run, path) if "'" not in path else None
    if model_id is not None:
        return ModelSource(f"models:/{model_id}", run_id, model_id)
    if "MLmodel" in _names(project, run.artifact_uri, path):
        return ModelSource(join_uri(run.artifact_uri, path), run_id)
    raise InvalidInputError(f"Run {run_id} has no model at {path!r}.", _HOW_TO_LOG)


def _of_model(project: Project, uri: str, rest: str) -> ModelSource:
    if rest.startswith("m-") and "/" not in rest and "@" not in rest:
        return ModelSource(uri, project.runs.source_run_of_model(rest), rest)
    # Another version's artifacts: MLflow itself resolves numbers only, not stages, aliases and `latest`.
    name, mark, wanted = rest.partition("@" if "@" in rest else "/")
    version = find_version(project, name, f"@{wanted}" if mark == "@" else wanted)
    logged = version.source.removeprefix("models:/")
    model_id = logged if version.source.startswith("models:/m-") else None
    return ModelSource(version.source, version.run_id or None, model_id)


def _names(project: Project, root: str, path: str) -> set[str]:
    return {item.path.rsplit("/", 1)[-1] for item in project.artifacts.list_files(root, path)}

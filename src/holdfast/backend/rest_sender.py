"""A tracking server reached by MLflow's REST API, without MLflow: for a process that must stay small.

Requests go out uncompressed: MLflow's server (3.17) reads a gzip'd body as broken JSON. Answers may be gzip'd.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import requests
import urllib3

from holdfast.backend.rest_errors import DoubledError, answer_error, strange_answer, trouble_error, within
from holdfast.backend.rest_messages import (
    batch_request,
    compact,
    experiment_of,
    output_ids,
    page_of,
    pairs,
    point_of,
    run_of,
)
from holdfast.backend.sendable import (
    HISTORY_TAG,
    check_int64,
    check_status,
    check_text,
    holds_model,
    new_outputs,
    smaller_parts,
)
from holdfast.core.login import Authorization, Login, split_login
from holdfast.core.redaction import Redactor
from holdfast.core.sending import KEY_TAG, ExperimentRef, Point, Refused, RunRef, Unavailable
from holdfast.core.uris import holds_password, mask_uri

_API = "/api/2.0/mlflow"
_NO_LOGIN = Login()
_LONGEST_CONNECT_S = 5.0
_HISTORY_PAGE = 5000  # about 2 MB while it is read
_RUNS_PAGE = 100
_T = TypeVar("_T")


class RestSender:
    """Sends to an MLflow server; implements `holdfast.core.sending.Sender`.

    Args:
        base_url: The tracking URI; a user and password in it win over those of `login`, as in MLflow.
        login: How to log in.
        timeout_s: How long the server may be silent; connecting may take five seconds at most.
        redact: Hides the project's secrets in errors; those of the login are hidden in any case.
    """

    def __init__(
        self, base_url: str, login: Login = _NO_LOGIN, timeout_s: float = 30.0, redact: Redactor | None = None
    ) -> None:
        url_login, self._url = split_login(base_url.rstrip("/"))
        self._auth = Authorization(url_login or login.header)
        self._hide = _hider(base_url, login, self._auth.header, redact or Redactor())
        self._verify: bool | str = False if login.insecure_tls else login.ca_file or True
        self._certificate = login.client_cert
        self._timeouts = (min(timeout_s, _LONGEST_CONNECT_S), timeout_s)
        self._session = _Session()
        if login.insecure_tls:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def __repr__(self) -> str:
        return f"RestSender({self._hide(mask_uri(self._url))!r})"

    # -- the server -------------------------------------------------------------------

    def check(self, timeout_s: float) -> None:
        """Return if the server answers within this time; raise `Unavailable` if not."""
        within(timeout_s, self._hide(self._url), lambda: self._check(timeout_s))

    def _check(self, timeout_s: float) -> None:
        timeouts = (min(timeout_s, _LONGEST_CONNECT_S), timeout_s)
        with _Session() as session:  # one of its own: this thread may be left behind
            for path in ("/version", "/health"):
                answer = self._send(session, "GET", path, timeouts=timeouts)
                if answer.status_code == 200 and not answer.content.lstrip().startswith((b"<", b"{")):
                    return
                if answer.status_code != 404:
                    break
        asked = f"GET {path}"
        if answer.status_code == 200:
            raise strange_answer(asked, "a page, no version", self._hide)
        raise _never_refused(answer_error(asked, answer.status_code, answer.headers, answer.content, self._hide))

    def close(self) -> None:
        """Let go of connections."""
        self._session.close()

    # -- experiments ------------------------------------------------------------------

    def find_experiment(self, name: str) -> ExperimentRef | None:
        """Return the experiment of this name, deleted or not."""
        return self._experiment("experiments/get-by-name", {"experiment_name": name})

    def get_experiment(self, experiment_id: str) -> ExperimentRef | None:
        """Return the experiment, or None where there is none."""
        return self._experiment("experiments/get", {"experiment_id": experiment_id})

    def _experiment(self, path: str, query: Mapping[str, str]) -> ExperimentRef | None:
        try:
            return self._get(path, query, lambda answer: experiment_of(answer["experiment"]))
        except _NotThereError:
            return None

    def create_experiment(self, name: str, artifact_location: str | None, tags: Mapping[str, str]) -> ExperimentRef:
        """Create an experiment; where somebody else was faster, return theirs."""
        body: dict[str, Any] = {"name": name, "tags": pairs(tags.items())}
        if artifact_location is not None:
            body["artifact_location"] = artifact_location
        with contextlib.suppress(_ExistsError):
            self._tell("experiments/create", body)
        found = self.find_experiment(name)
        if found is None:
            raise Unavailable(f"experiment {self._hide(name)!r} exists, but is not found")
        return found

    # -- runs -------------------------------------------------------------------------

    def find_runs(self, experiment_id: str, key: str) -> list[RunRef]:
        """Return the runs whose tag `KEY_TAG` is `key`, deleted ones too, the earliest first."""
        body: dict[str, Any] = {
            "experiment_ids": [experiment_id],
            "filter": key_filter(key),
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
            "max_results": _RUNS_PAGE,
        }
        found: list[RunRef] = []
        for page in self._pages(lambda token: self._post("runs/search", {**body, **token}, page_of("runs", run_of))):
            found += page
        return found

    def create_run(
        self, experiment_id: str, user: str, start_time_ms: int, name: str | None, tags: Mapping[str, str]
    ) -> RunRef:
        """Create a run in state RUNNING; not repeatable, see `find_runs`."""
        check_int64(start_time_ms=start_time_ms)
        body: dict[str, Any] = {"experiment_id": experiment_id, "user_id": user, "start_time": start_time_ms}
        body |= {"tags": pairs(tags.items())} | ({} if name is None else {"run_name": name})
        return self._post("runs/create", body, lambda answer: run_of(answer["run"]))

    def get_run(self, run_id: str) -> RunRef | None:
        """Return the run, deleted or not; None where there is none."""
        try:
            return self._get("runs/get", {"run_id": run_id}, lambda answer: run_of(answer["run"]))
        except Refused as error:
            if error.about_run or isinstance(error, _NotThereError):
                return None
            raise

    def delete_run(self, run_id: str) -> None:
        """Delete a run (MLflow keeps it restorable)."""
        self._tell("runs/delete", {"run_id": run_id})

    def update_run(self, run_id: str, status: str | None, end_time_ms: int | None, name: str | None) -> None:
        """Set status, end time and name; None leaves as it is."""
        check_status(status)
        check_int64(end_time_ms=end_time_ms)
        given = {"run_id": run_id, "status": status, "end_time": end_time_ms, "run_name": name}
        self._tell("runs/update", {key: value for key, value in given.items() if value is not None})

    # -- what a run holds -------------------------------------------------------------

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Point],
        params: Sequence[tuple[str, str]],
        tags: Sequence[tuple[str, str]],
    ) -> None:
        """Store at most 1,000 metrics, 100 params and 100 tags, 1,000 in all."""
        try:
            self._tell("runs/log-batch", batch_request(run_id, metrics, params, tags))
        except DoubledError:
            for part in smaller_parts(metrics, lambda key: self.metric_history(run_id, key)):
                self._tell("runs/log-batch", batch_request(run_id, part, params, tags))

    def log_inputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store datasets and model inputs; `body` is the request of MLflow's REST API without the run id."""
        self._tell("runs/log-inputs", {**body, "run_id": run_id})

    def log_outputs(self, run_id: str, body: Mapping[str, Any]) -> None:
        """Store model outputs; `body` is the request of MLflow's REST API without the run id."""
        models = new_outputs(body, self._get("runs/get", {"run_id": run_id}, output_ids))
        if models:
            self._tell("runs/outputs", {"run_id": run_id, "models": models})

    def log_model(self, run_id: str, model_json: str) -> None:
        """Note a model the way MLflow 2 did (`mlflow.log-model.history`)."""
        run = self.get_run(run_id)
        if run is None or not holds_model(run.tags.get(HISTORY_TAG), model_json):
            self._tell("runs/log-model", {"run_id": run_id, "model_json": model_json})

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag; nothing happens where there is none."""
        try:
            self._tell("runs/delete-tag", {"run_id": run_id, "key": key})
        except _NotThereError as error:
            if error.about_run:
                raise

    def metric_history(self, run_id: str, key: str) -> list[Point]:
        """Return every stored value of a metric, in any order."""
        query = {"run_id": run_id, "metric_key": key, "max_results": str(_HISTORY_PAGE)}
        found: list[Point] = []
        for page in self._pages(
            lambda token: self._get("metrics/get-history", {**query, **token}, page_of("metrics", point_of))
        ):
            found += page
        return found

    # -- requests ---------------------------------------------------------------------

    def _get(self, path: str, query: Mapping[str, str], read: Callable[[Any], _T]) -> _T:
        for value in query.values():
            check_text(value)
        return self._ask("GET", path, read, query=query)

    def _post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], _T]) -> _T:
        return self._ask("POST", path, read, body=check_text(compact(body)))

    def _tell(self, path: str, body: Mapping[str, Any] | bytes) -> None:
        self._ask("POST", path, bool, body=body if isinstance(body, bytes) else check_text(compact(body)))

    def _ask(
        self,
        method: str,
        path: str,
        read: Callable[[Any], _T],
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> _T:
        asked = f"{method} {path}"
        answer = self._send(self._session, method, f"{_API}/{path}", query, body)
        if answer.status_code != 200:
            error = answer_error(asked, answer.status_code, answer.headers, answer.content, self._hide)
            raise _told_apart(error, answer.content)
        try:
            said = json.loads(answer.content)
            if isinstance(said, dict):
                return read(said)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise strange_answer(asked, f"{type(error).__name__}: {error}", self._hide) from None
        raise strange_answer(asked, "no JSON object", self._hide)

    def _send(
        self,
        session: requests.Session,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeouts: tuple[float, float] | None = None,
    ) -> requests.Response:
        try:
            return session.request(
                method,
                self._url + path,
                params=query,
                data=body,
                headers={"Content-Type": "application/json"} if body is not None else None,
                auth=self._auth if self._auth.header else None,
                timeout=timeouts or self._timeouts,
                verify=self._verify,
                cert=self._certificate,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise trouble_error(f"{method} {self._url}{path}", error, self._hide) from None

    def _pages(self, ask: Callable[[dict[str, str]], tuple[list[_T], str]]) -> Iterator[list[_T]]:
        token = ""
        while True:
            page, token = ask({"page_token": token} if token else {})
            yield page
            if not token:
                return


def key_filter(key: str) -> str:
    """Return MLflow's search filter for `KEY_TAG`; a name with dots needs backticks.

    Raises:
        Refused: The key holds both kinds of quotes, for which MLflow has no form.
    """
    if "'" in key and '"' in key:
        raise Refused(f"a run key with both kinds of quotes cannot be searched for: {key!r}")
    mark = '"' if "'" in key else "'"
    return f"tags.`{KEY_TAG}` = {mark}{key}{mark}"


class _NotThereError(Refused):
    """MLflow knows no such thing."""


class _ExistsError(Refused):
    """MLflow has it already."""


_TOLD_APART = {"RESOURCE_DOES_NOT_EXIST": _NotThereError, "RESOURCE_ALREADY_EXISTS": _ExistsError}


def _told_apart(error: Exception, body: bytes) -> Exception:
    """Give a refusal that a method may answer itself a class of its own."""
    if type(error) is not Refused:
        return error
    kind = _TOLD_APART.get(json.loads(body)["error_code"], Refused)
    return kind(error.reason, error.about_run)


def _never_refused(error: Exception) -> Exception:
    return Unavailable(error.reason) if isinstance(error, Refused) else error


class _Session(requests.Session):
    """Follows a redirection only where the request stays what it is: after a 301, requests makes a GET of a POST."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        if resp.request.method != "GET" and resp.status_code not in (307, 308):
            return None
        return super().get_redirect_target(resp)


def _hider(url: str, login: Login, header: str, redact: Redactor) -> Callable[[str], str]:
    match = re.fullmatch(r"[A-Za-z]+://(.*)@[^@]*", url, flags=re.DOTALL)
    of_url = match[1].partition(":") if match and holds_password(url) else ("", "", "")
    secret = of_url[2] or of_url[0]
    given = [secret, unquote(secret), login.password or "", login.token or "", header.partition(" ")[2]]
    own = Redactor([text for value in given for text in (value, quote(value, safe=""))])
    return lambda text: redact(own(text))

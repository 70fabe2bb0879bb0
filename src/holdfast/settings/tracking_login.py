"""User name, password and token at the tracking server.

MLflow itself reads them from the process's environment, and completes a lone name or
password from ~/.mlflow/credentials; what stands in `.env` is known to Holdfast only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from holdfast.core.uris import expand_home
from holdfast.settings.layers import Found, Layer, Origin, Report, lookup, pick, reveal
from holdfast.settings.names import BY_NAME

_PAIR = ("tracking_username", "tracking_password")


def choose_login(
    layers: Mapping[str, Layer], report: Report, values: dict[str, Any], origins: dict[str, Origin]
) -> None:
    """Put the login into `values` and `origins`: name and password from one source, the token from the first."""
    sources = (layers["argument"], layers["environment"], layers["dotenv"])
    found = _pair(sources, report)
    token = lookup(BY_NAME["tracking_token"], sources, report)
    if token is not None:
        found["tracking_token"] = token
    for name, item in found.items():
        text = str(reveal(item.value))
        values[name] = text if name == "tracking_username" else SecretStr(text)
        origins[name] = item.origin
    _note_what_mlflow_does_not_see(found, report)


def _pair(sources: tuple[Layer, ...], report: Report) -> dict[str, Found]:
    for layer in sources:
        picked = {name: pick(layer, layer.names_for(BY_NAME[name], 0), report) for name in _PAIR}
        found = {name: item for name, item in picked.items() if item is not None}
        if len(found) == 1 and not os.path.exists(expand_home("~/.mlflow/credentials")):
            _refuse_half(layer, found, report)
        if found:
            return found
    return {}


def _refuse_half(layer: Layer, found: Mapping[str, Found], report: Report) -> None:
    given = next(iter(found.values())).origin.name
    missing = next(layer.names_for(BY_NAME[name], 0)[0] for name in _PAIR if name not in found)
    report.refuse(
        f"{given} is set in {layer.title}, but {missing} is missing there.",
        f"set {missing} in {layer.title} too, or remove {given} from it",
    )


def _note_what_mlflow_does_not_see(found: Mapping[str, Found], report: Report) -> None:
    hidden = [BY_NAME[name].variable for name, item in found.items() if item.origin.kind != "environment"]
    if hidden:
        report.note(f"MLflow's own client reads {', '.join(hidden)} from the environment only: export them for it.")

"""What a stage, an alias or a number meant when the registry was last asked: for when it does not answer."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from holdfast.backend.entities import ModelVersion
from holdfast.core.stages import parse_stage
from holdfast.errors import HoldfastError
from holdfast.project import Project
from holdfast.registry.serving.model_cache import ModelCache


@dataclass(frozen=True)
class Known:
    """A version as it was last seen, the checksum of its files, and when that was (UTC, ISO 8601)."""

    version: ModelVersion
    checksum: str
    seen_at: str


def remember(cache: ModelCache, project: Project, wanted: int | str, version: ModelVersion, checksum: str) -> None:
    """Note what was meant; where the cache cannot be written, nothing is noted."""
    content = {
        "name": version.name,
        "version": version.version,
        "stage": None if version.stage is None else version.stage.value,
        "run_id": version.run_id,
        "created_ms": version.created_ms,
        "checksum": checksum,
        "seen_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    path = _path(cache, project, version.name, wanted)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(json.dumps(content), "utf-8")
        os.replace(part, path)


def recall(cache: ModelCache, project: Project, name: str, wanted: int | str) -> Known | None:
    """Return what was meant last, if its files are kept; None where nobody knows."""
    try:
        content = json.loads(_path(cache, project, name, wanted).read_text("utf-8"))
        known = Known(_version(content), str(content["checksum"]), str(content["seen_at"]))
        return known if known.version.name == name and cache.holds(known.checksum) else None
    except (OSError, ValueError, TypeError, KeyError, HoldfastError):
        return None


def _version(content: dict[str, Any]) -> ModelVersion:
    stage = content["stage"]
    return ModelVersion(
        name=str(content["name"]),
        version=int(content["version"]),
        stage=None if stage is None else parse_stage(stage),
        status="READY",
        source="",
        run_id=str(content["run_id"]),
        description="",
        created_ms=int(content["created_ms"]),
    )


def _path(cache: ModelCache, project: Project, name: str, wanted: int | str) -> Path:
    # Hashed: a registry's address may hold a password, and a model's name whatever it likes.
    key = json.dumps([project.connection.registry_uri, name, str(wanted)])
    return cache.root / "known" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

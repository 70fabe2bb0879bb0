"""What a training runs on: versions, processor, memory, GPUs, host, command line, packages, and its code."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from holdfast.core.key_patterns import mask_keys_in, mask_keys_in_words
from holdfast.core.names import MAX_TAG_LENGTH
from holdfast.core.redaction import Redactor, names_a_secret
from holdfast.core.uris import MASK
from holdfast.tracking import MLflowTracker
from holdfast.tracking.git_state import known_state
from holdfast.tracking.lineage import environment_text
from holdfast.training.integrations.run_in_use import run_in_use

TAG_PREFIX = "holdfast.env."
PACKAGES_FILE = "packages.txt"
_LIBRARIES = (
    "torch",
    "lightning",
    "transformers",
    "xgboost",
    "xgboost-cpu",
    "scikit-learn",
    "stable-baselines3",
    "mlflow",
    "numpy",
)
_MOST_CODE_BYTES = 1 << 20


def log_environment(tracker: MLflowTracker) -> None:
    """Log what the open run is trained on, as tags and files.

    Tags, each there where it is known: `holdfast.env.python`, `.platform`, `.host`, `.cpu`, `.cores` (those that this
    process may use), `.memory_gib`, `.gpus`, `.cuda`, `.cudnn`, `.command`, and the versions of `.torch`, `.lightning`
    and others. Files: `environment/packages.txt`, every installed distribution; inside a git repository the uncommitted
    changes, as `log_lineage` keeps them; outside of one the training script itself, in `code/`. With
    HOLDFAST_LINEAGE=off neither changes nor script are kept.

    Secrets in the command line (by the name of an option, by their form, the project's own by their value) and in the
    script are masked. What torch says of GPUs is only asked where torch is loaded already.

    Args:
        tracker: Whose open run; where none is open, one is begun and ended.

    Raises:
        ArtifactError: The artifact store refused a file; told by `flush` where it was handed over.
    """
    with run_in_use(tracker):
        tracker.set_tags({TAG_PREFIX + name: text for name, text in environment_tags().items() if text})
        redact = Redactor(tracker.settings.secrets())
        _log_text(tracker, PACKAGES_FILE, redact(environment_text()), "environment")
        if tracker.settings.lineage == "off":
            return
        if known_state() is not None:
            tracker.log_lineage(environment=False)
            return
        script = training_script()
        if script is not None:
            _log_text(tracker, script.name, mask_keys_in(redact(script.read_text(errors="replace")))[0], "code")


def environment_tags() -> dict[str, str]:
    """Return what is known of the machine and of the software; without the tags' prefix."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpu": cpu_model(),
        "cores": str(_usable_cores()),
        "memory_gib": _memory_gib(),
        "command": command_line(sys.orig_argv),
    }
    return found | {name: _version(name) for name in _LIBRARIES} | gpu_tags()


def command_line(arguments: Sequence[str]) -> str:
    """Return a command line with the values of options that name a secret, and what looks like one, masked."""
    shown: list[str] = []
    hides_next = False
    for argument in arguments:
        name, mark, value = argument.partition("=")
        is_secret = names_a_secret(name.lstrip("-"))
        if hides_next and not argument.startswith("--"):
            shown.append(MASK)
        elif is_secret and mark and value:
            shown.append(f"{name}={MASK}")
        else:
            shown.append(mask_keys_in_words(argument))
        hides_next = is_secret and not mark and argument.startswith("-")
    return shlex.join(shown)[:MAX_TAG_LENGTH]


def cpu_model() -> str:
    """Return the processor's name, or what the platform calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def gpu_tags() -> dict[str, str]:
    """Return the GPUs and the versions of what drives them, as torch sees them; empty where torch is not loaded."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return {}
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    # Its own version names the build, which that of the package may not.
    found = {"torch": str(torch.__version__), "cuda": torch.version.cuda or "", "cudnn": str(cudnn or "")}
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        found["gpus"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return found


def training_script() -> Path | None:
    """Return the script that this process runs; None for a console, a notebook, or what is no text of a usual size."""
    named = getattr(sys.modules.get("__main__"), "__file__", None)
    path = Path(named) if named else None
    return path if path and path.suffix == ".py" and path.is_file() and _is_small(path) else None


def _is_small(path: Path) -> bool:
    return path.stat().st_size <= _MOST_CODE_BYTES


def _usable_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _memory_gib() -> str:
    try:
        size_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return ""
    return f"{size_bytes / (1 << 30):.1f}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _log_text(tracker: MLflowTracker, name: str, text: str, folder: str) -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-environment-") as scratch:
        local = Path(scratch, name)
        local.write_text(text, encoding="utf-8")
        tracker.log_artifact(local, folder)

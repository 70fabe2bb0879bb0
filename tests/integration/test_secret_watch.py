"""The watch over secrets in conftest.py, watched: a test that leaks one must fail the run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

LEAKS = {
    "nothing": "assert canary",
    "stdout": "print(canary)",
    "log": "import logging\n    logging.getLogger('x').warning(canary)",
    "child's output": "import subprocess\n    subprocess.run(['echo', canary], check=True)",
    "file": "(tmp_path / 'report.txt').write_text(canary)",
    ".env": "(tmp_path / '.env').write_text(canary)",
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_fails_the_run(leak: str) -> None:
    tests = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:  # not below tmp_path, which is searched itself
        file = Path(folder) / "test_leak.py"
        file.write_text(f"def test_leak(canary, tmp_path):\n    {LEAKS[leak]}\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", "-c", os.devnull]
        done = subprocess.run(
            [*command, "--rootdir", folder, "--basetemp", f"{folder}/base", str(file)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
            check=False,
        )
    leaks = leak not in ("nothing", ".env")  # a .env file is where secrets belong
    assert done.returncode == (1 if leaks else 0), done.stdout[-2000:]
    assert ("A secret was found in" in done.stdout) == leaks

"""How much memory something takes, in a process in which nothing else allocates any."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_PROGRAM = """
import tracemalloc
{before}
tracemalloc.start()
{measured}
print(tracemalloc.get_traced_memory()[1])
"""


def peak_bytes(before: str, measured: str) -> int:
    """Return the most that Python's objects take while a program runs, besides those that were there before."""
    program = _PROGRAM.format(before=textwrap.dedent(before), measured=textwrap.dedent(measured))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=True)
    return int(done.stdout)

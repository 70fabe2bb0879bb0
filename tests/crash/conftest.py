"""The crash tier: faults before the k-th file operation, real SIGKILLs, and bugs planted on purpose.

The same examples each time, few enough for CI; `HOLDFAST_LONG_TESTS=1` searches for longer.
"""

from __future__ import annotations

import sys
from pathlib import Path

# What the files of this tier share (`journal_world`, `journal_checks`, …) is imported by its name.
sys.path.insert(0, str(Path(__file__).parent))

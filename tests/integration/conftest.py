"""The integration tier: real servers, real processes, real signals."""

from __future__ import annotations

import sys
from pathlib import Path

# What the files of this tier share (`journaling`) is imported by its name.
sys.path.insert(0, str(Path(__file__).parent))

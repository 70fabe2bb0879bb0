"""The tier of training: Lightning and what trains without it, in small."""

from __future__ import annotations

import sys
from pathlib import Path

# What the files of this tier share (`small_training`) is imported by its name, by children too.
sys.path.insert(0, str(Path(__file__).parent))

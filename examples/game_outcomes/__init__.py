"""A worked example: the probability that the home team wins, learnt without leakage.

From a table of games (simulated, or read from a CSV file) to features of what was known before
each game, a chronological split, boosted trees, and honest measurements. See the README beside
this file. Nothing here knows of experiment tracking; `quickstart` puts it on top.
"""

from __future__ import annotations

from .features import FeatureConfig, build_features
from .games import canonical, fingerprint
from .loader import load_games
from .metrics import Comparison, Interval, compare, evaluate, score_games
from .model import ModelConfig, train
from .pipeline import Outcome, Progress, train_and_evaluate
from .ratings import EloConfig, rate_elo
from .rolling import score_rolling
from .simulator import SimulatorConfig, simulate_games
from .split import SeasonSplit, split_seasons
from .strengths import StrengthConfig, filter_strengths

__all__ = [
    "Comparison",
    "EloConfig",
    "FeatureConfig",
    "Interval",
    "ModelConfig",
    "Outcome",
    "Progress",
    "SeasonSplit",
    "SimulatorConfig",
    "StrengthConfig",
    "build_features",
    "canonical",
    "compare",
    "evaluate",
    "filter_strengths",
    "fingerprint",
    "load_games",
    "rate_elo",
    "score_games",
    "score_rolling",
    "simulate_games",
    "split_seasons",
    "train",
    "train_and_evaluate",
]

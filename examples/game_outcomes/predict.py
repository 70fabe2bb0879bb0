"""Load registered models and predict: `python -m holdfast_examples.game_outcomes.predict ROWS.csv MODEL_URI …`.

Prints one line of JSON: model URI → the chance of a home win for each row. The project's stores
are found by the settings, as everywhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from holdfast.errors import HoldfastError
from holdfast.tracking import setup_mlflow


def predict(rows: pd.DataFrame, model_uris: Sequence[str]) -> dict[str, list[float]]:
    """Return the chance of a home win for each row, by each model.

    Args:
        rows: The features that the models were trained on, one game a row.
        model_uris: URIs such as `models:/game-outcomes/Production` or `models:/game-outcomes@production`.
    """
    import mlflow.pyfunc

    setup_mlflow(verbose=False)
    return {uri: [float(chance) for chance in mlflow.pyfunc.load_model(uri).predict(rows)] for uri in model_uris}


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    if len(arguments) < 2:
        sys.stderr.write("usage: python -m holdfast_examples.game_outcomes.predict ROWS.csv MODEL_URI...\n")
        return 2
    try:
        answers = predict(pd.read_csv(Path(arguments[0])), arguments[1:])
    except HoldfastError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(answers) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

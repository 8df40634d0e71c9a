"""One of several workers of a training, started by `workers.py`: `python -m models.training.worker JOB TF_CONFIG [STEPS OUT]`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

from models.training import workers


def main(folder: str, cluster: str, steps: str = "", out: str = "") -> None:
    """Train until the job is over; the first worker writes the checkpoint. `steps`: take so many, and write them."""
    os.environ["TF_CONFIG"] = cluster  # TensorFlow's own way to say who is who; it is read when the strategy is made
    from models.forecaster import recurrent  # noqa: PLC0415 - after that
    from models.training import fitting, job  # noqa: PLC0415

    recurrent.prepare()  # threads first: a strategy computes something
    strategy = recurrent.tf.distribute.MultiWorkerMirroredStrategy()
    place, leads = job.opened(Path(folder)), json.loads(cluster)["task"]["index"] == 0
    if not steps:
        fitting.run(fitting.trainer(place, strategy), place, lambda _: None, writes=leads)
        return
    own = fitting.trainer(place, strategy, dropout=False)
    losses = fitting.steps(own, place, int(steps))
    if leads:
        weights = {f"weight{at}": variable.value.numpy() for at, variable in enumerate(own.network.trainable_variables)}
        np.savez(out, losses=np.array(losses), allow_pickle=False, **weights)


if __name__ == "__main__":
    workers.end_with_parent()
    main(*sys.argv[1:])

"""One of several workers that share each batch of a daily training: `python -m models.studies.daily_worker FOLDER TF_CONFIG`.

On a cluster one runs on each machine, all with the same folder and each with its own TF_CONFIG (docs/studies/clusters.md).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec

from models.studies import daily_network, pool
from models.training import workers

FILE = "task.json"


def main(folder: str, cluster: str) -> None:
    """Train until the task is done; the first worker keeps the part."""
    os.environ["TF_CONFIG"] = cluster  # TensorFlow's own way to say who is who; it is read when the strategy is made
    pool.one_thread()
    from models.forecaster.recurrent import tf  # noqa: PLC0415 - after that

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    task = msgspec.json.decode((Path(folder) / FILE).read_bytes(), type=daily_network.Task)
    daily_network.train(task, strategy, leads=json.loads(cluster)["task"]["index"] == 0)


if __name__ == "__main__":
    workers.end_with_parent()
    main(*sys.argv[1:])

"""Several processes train one network, each on its share of every batch (`tf.distribute.MultiWorkerMirroredStrategy`).

They read one job's folder, so on several machines it must be a shared one; here all are on this machine. The first writes
the checkpoint. When one dies the others cannot go on: all are ended, and the next training goes on from the checkpoint.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.training.job import Place
from streams.errors import ModelError

if TYPE_CHECKING:
    from models.training.loop import History, Tell

WORKER = "models.training.worker"
ROUND_S = 0.2
STOP_S = 10.0
LAST_WORDS = 300  # characters of a dead worker's output that its error repeats


def fit(place: Place, count: int, tell: Tell) -> tuple[Any, History]:
    """Train the job's network by `count` workers on this machine; return it with its history.

    Raises
    ------
    ModelError
        A worker ended before the training did.
    """
    from models.forecaster import recurrent  # noqa: PLC0415 - with it TensorFlow
    from models.training import fitting  # noqa: PLC0415

    known = 0

    def look() -> None:
        nonlocal known
        known = _tell(place, known, tell)

    run(place.folder, count, look)
    own = fitting.trainer(place)
    history = fitting.run(own, place, tell, writes=False)  # over already: this reads what the workers reached
    return recurrent.in_full_precision(own.network, fitting.scaler(place)), history


def trace(place: Place, count: int, steps: int) -> tuple[list[float], list[Any]]:
    """Return the losses of the first `steps` steps that `count` workers take without dropout, and the weights then.

    Raises
    ------
    ModelError
        As :func:`fit`.
    """
    out = place.folder / f"trace-{count}.npz"
    run(place.folder, count, lambda: None, str(steps), str(out))
    with out.open("rb") as file, np.load(file, allow_pickle=False) as held:
        return held["losses"].tolist(), [held[name] for name in sorted(held) if name != "losses"]


def run(folder: Path, count: int, each: Callable[[], None], *more: str, module: str = WORKER) -> None:
    """Run `count` workers, `python -m MODULE FOLDER TF_CONFIG MORE...`, to their end; `each` is called meanwhile.

    Raises
    ------
    ModelError
        As :func:`fit`.
    """
    with _workers(folder, count, [module, str(folder)], more) as running:
        while any(process.poll() is None for process in running):
            _check(running, folder)
            each()
            time.sleep(ROUND_S)
        _check(running, folder)


def _tell(place: Place, known: int, tell: Tell) -> int:
    standing = place.checkpoint().read()
    if standing is None or len(standing.train) == known:
        return known
    from models.training.loop import History  # noqa: PLC0415 - loaded by now

    tell(History(standing.train, standing.validation))
    return len(standing.train)


def _check(running: list[subprocess.Popen[bytes]], folder: Path) -> None:
    for number, process in enumerate(running):
        if process.poll():
            words = _log(folder, number).read_text(errors="replace").strip()[-LAST_WORDS:]
            raise ModelError(
                f"worker {number} of {len(running)} ended early (status {process.returncode});"
                f" train again, and it goes on from the last epoch. It said: {words}"
            )


@contextmanager
def _workers(folder: Path, count: int, job: Sequence[str], more: Sequence[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    running = []
    with ExitStack() as stack:
        for number in range(count):
            said = stack.enter_context(_log(folder, number).open("wb"))
            cluster = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": number}})
            command = [sys.executable, "-m", *job, cluster, *more]
            running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said))
        try:
            yield running
        finally:
            for process in running:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log(folder: Path, number: int) -> Path:
    return folder / f"worker-{number}.log"


def free_ports(count: int) -> list[int]:
    """Return `count` free ports of 127.0.0.1, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def end_with_parent() -> None:
    """End this process when the one that started it is gone: its end of our standard input closes then."""

    def watch() -> None:
        while os.read(0, 1):  # not by sys.stdin, whose lock an ending interpreter waits for
            pass
        os._exit(1)  # at once: TensorFlow may be waiting for a worker that is gone

    threading.Thread(target=watch, daemon=True, name="parent").start()

"""Work in processes of its own, each on one thread: two trainings on two cores take less time than one on both.

It also keeps TensorFlow out of the process that asks, and each result the same whatever runs beside it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from streams.errors import ModelError

WORKERS = 2
Task = TypeVar("Task")


def each(work: Callable[[Task], None], tasks: Sequence[Task], done: Callable[[int], None], workers: int = WORKERS) -> None:
    """Do `work`, a function of a module, on each of `tasks`; `done` is called with how many are done.

    Raises
    ------
    ModelError
        A worker died, for want of memory perhaps. Errors of `work` pass.
    """
    done(0)
    if not tasks:
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), _prepare) as pool:
        running = [pool.submit(work, task) for task in tasks]
        try:
            for count, finished in enumerate(as_completed(running), start=1):
                finished.result()
                done(count)
        except BrokenProcessPool as error:
            raise ModelError(
                "a process of the study died; run it again, and it goes on with the parts that are missing"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """End with the process that asked, and keep each library to one thread."""
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True, name="parent").start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@cache
def one_thread() -> None:
    """Keep TensorFlow to one thread, and its sums in one order: once in a process, before it computes anything."""
    from models.forecaster.recurrent import tf  # noqa: PLC0415 - seconds

    tf.get_logger().setLevel("ERROR")  # it warns of each network that is built anew, which is what workers do
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

"""What Spark gave to the task that this worker runs."""

from __future__ import annotations

from pyspark import TaskContext


def task_resources() -> tuple[str, int]:
    """The device and the number of threads that Spark gave to this task."""
    task = TaskContext.get()
    assert task is not None  # only called on a worker
    gpu = task.resources().get("gpu")
    threads = max(1, int(task.cpus()))
    return (f"cuda:{gpu.addresses[0]}", threads) if gpu is not None else ("cpu", threads)

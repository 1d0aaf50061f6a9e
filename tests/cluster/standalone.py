"""A standalone Spark cluster on loopback: a master and workers, each a process of its own, ended with the test."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyspark

from interest_tiers.processes import process_start

HOST = "127.0.0.1"

MASTER_STARTED = re.compile(r"Starting Spark master at (spark://\S+)")
WORKER_REGISTERED = re.compile(r"Successfully registered with master")

#: Seconds that a process may take to start on a busy machine, and to end.
START_SECONDS, END_SECONDS = 180, 20

#: prctl's option for the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1

Found = TypeVar("Found")


@dataclass(frozen=True)
class StandaloneCluster:
    """master: the URL to submit to. folder: logs, and the workers' folders."""

    master: str
    folder: Path

    def list_executors(self) -> list[int]:
        """List the pids of live executors, those of the first worker first."""
        return [pid for number in (1, 2) for pid in _find_processes("CoarseGrainedExecutorBackend", f"{self.folder}/worker-{number}/")]

    def wait_for_executors(self, number: int) -> list[int]:
        """Return the pids of the executors as soon as there are so many."""
        return wait_until(lambda: found if len(found := self.list_executors()) >= number else None, f"no {number} executors")

    def read_executor_logs(self) -> str:
        """Read what executors wrote to standard error."""
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in sorted(self.folder.glob("worker-*/*/*/stderr")))


@contextmanager
def start_cluster(folder: Path, memory: str = "2g") -> Iterator[StandaloneCluster]:
    """Run a master and two workers of one core each while the block runs; afterwards none of their processes is left.

    The workers see no virtual environment on their PATH.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        arguments = ["master.Master", "--host", HOST, "--port", "0", "--webui-port", "0"]
        processes.append(_start(folder / "master", arguments))
        master = _wait_for_log(processes[0], folder / "master" / "log.txt", MASTER_STARTED)[1]
        for number in (1, 2):
            own = folder / f"worker-{number}"
            resources = ["--cores", "1", "--memory", memory, "--work-dir", str(own)]
            arguments = ["worker.Worker", "--host", HOST, "--port", "0", "--webui-port", "0", *resources, master]
            processes.append(_start(own, arguments))
        for number, process in enumerate(processes[1:], start=1):
            _wait_for_log(process, folder / f"worker-{number}" / "log.txt", WORKER_REGISTERED)
        yield StandaloneCluster(master, folder)
    finally:
        _end(processes)


def wait_until(find: Callable[[], Found | None], otherwise: str, seconds: float = START_SECONDS) -> Found:
    """Return what is found as soon as it is not None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = find()
        if found is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{otherwise} within {seconds:.0f} s")


def _start(folder: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a class of Spark's deploy package, in a session of its own so that all its descendants can be found."""
    folder.mkdir(parents=True)
    home = Path(pyspark.__file__).parent
    kept = {name: os.environ[name] for name in ("JAVA_HOME", "HOME", "TMPDIR") if name in os.environ}
    environment = {
        **kept, "PATH": _system_path(), "SPARK_HOME": str(home), "SPARK_LOCAL_IP": HOST, "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
    }  # fmt: skip
    command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{arguments[0]}", *arguments[1:]]
    libc = ctypes.CDLL(None)
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            # Also where the tests themselves are killed. Executors end when their worker does.
            preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) if hasattr(libc, "prctl") else None,
        )


def _system_path() -> str:
    """PATH without virtual environments, as a node of a cluster has it."""
    return os.pathsep.join(each for each in os.environ["PATH"].split(os.pathsep) if not (Path(each).parent / "pyvenv.cfg").exists())


def _wait_for_log(process: subprocess.Popen[bytes], log: Path, line: re.Pattern[str]) -> re.Match[str]:
    def find() -> re.Match[str] | None:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert process.poll() is None, f"ended with {process.returncode}:\n{text[-3000:]}"
        return line.search(text)

    return wait_until(find, f"{log} has no {line.pattern!r}")


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End workers before the master, then kill what is left of their sessions."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    sessions = {process.pid for process in processes}
    deadline = time.monotonic() + END_SECONDS
    while (left := _list_sessions(sessions)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)


def _list_sessions(sessions: set[int]) -> list[int]:
    """List the live processes of sessions."""
    found = []
    for pid in _list_pids():
        try:
            if os.getsid(pid) in sessions and process_start(pid) is not None:
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


def _find_processes(*words: str) -> list[int]:
    """List the processes whose command line or folder has all of the words."""
    found = []
    for pid in _list_pids():
        try:
            text = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace") + f"{Path(f'/proc/{pid}/cwd').readlink()}/"
        except OSError:
            continue
        if all(word in text for word in words):
            found.append(pid)
    return found


def _list_pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]

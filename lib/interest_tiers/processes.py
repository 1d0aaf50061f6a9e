"""Tells whether the process that wrote a claim or works in a folder is still there."""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path


def process_start(pid: int) -> str | None:
    """Return the start time of a process of this machine in clock ticks; None where it has ended, or without /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name of the program, in brackets, may hold spaces. Z and X are processes that have ended.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in ("Z", "X") else fields[18]


@cache
def machine() -> str:
    """Identify this machine, its boot and its process namespace: where a process id has one meaning. Empty without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""

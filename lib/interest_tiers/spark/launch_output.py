"""Keeps Ivy's report and Spark's remarks on its own start off a person's terminal; shows them when the start fails."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Lines that Ivy and Spark print about jars, and what Spark says of its own start.
IVY_LINE = re.compile(
    rb"^(::+ |\t|Ivy Default Cache|The jars for the packages|https?://.* added as a remote|\S+#\S+ added as a dependency"
    rb"|.*resolving dependencies|\s*\|.*\||\s*-{20,}|Setting (default|Spark) log level|To adjust logging level|downloading |\s*$"
    # Of a sound start on a laptop: its host name, missing native code, a port that another session has.
    rb"|You probably access the destination server through a proxy|.* WARN (Utils: (Your hostname|Set SPARK_LOCAL_IP|Service 'SparkUI')"
    rb"|NativeCodeLoader: ))"
)

CHUNK_BYTES = 65_536


@contextmanager
def hide_ivy_report() -> Iterator[None]:
    """Hold back Ivy's lines on standard output and error while the block starts a JVM; print them if the block raises.

    The JVM inherits pipes in their place. A thread each passes on everything else, and after the block all of it.
    """
    sys.stdout.flush()
    relays = [_Relay(descriptor) for descriptor in (1, 2)]
    try:
        yield
    except BaseException:
        for relay in relays:
            relay.show_held()
        raise
    finally:
        for relay in relays:
            relay.end_start()


class _Relay(threading.Thread):
    """Passes what the JVM writes to a file descriptor on to it; while the JVM starts it holds back Ivy's lines."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name=f"output {descriptor} of the JVM", daemon=True)
        self._descriptor, self._terminal = descriptor, os.dup(descriptor)
        self._reading, writing = os.pipe()
        self._held: list[bytes] = []
        self._is_starting = True
        os.dup2(writing, descriptor)
        os.close(writing)
        self.start()

    def run(self) -> None:
        rest = b""
        while chunk := os.read(self._reading, CHUNK_BYTES):
            if not self._is_starting:
                os.write(self._terminal, rest + chunk)
                rest = b""
                continue
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if IVY_LINE.match(line):
                    self._held.append(line)
                else:
                    os.write(self._terminal, line + b"\n")
        os.write(self._terminal, rest)

    def end_start(self) -> None:
        """Give this process its descriptor back; what the JVM writes passes from now on."""
        os.dup2(self._terminal, self._descriptor)
        self._is_starting = False

    def show_held(self) -> None:
        """Print what was held back."""
        os.write(self._terminal, b"".join(line + b"\n" for line in self._held))

"""Keeps Ivy's report of resolved jars off a person's terminal while the JVM starts; shows it when the start fails."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Lines that Ivy and Spark print about jars, and what Spark says of its own start.
IVY_LINE = re.compile(
    rb"^(:: |\t|Ivy Default Cache|The jars for the packages|https?://.* added as a remote|\S+#\S+ added as a dependency"
    rb"|.*resolving dependencies|\s*\|.*\||\s*-{20,}|Setting default log level|To adjust logging level|downloading |\s*$)"
)

CHUNK_BYTES = 65_536


@contextmanager
def hide_ivy_report() -> Iterator[None]:
    """Hold back Ivy's lines on file descriptor 2 while the block starts a JVM, and print them if the block raises.

    The JVM inherits a pipe as its standard error. A thread passes on everything else, and after the block all of it.
    """
    reading, writing = os.pipe()
    terminal = os.dup(2)
    relay = _Relay(reading, terminal)
    os.dup2(writing, 2)
    os.close(writing)
    relay.start()
    try:
        yield
    except BaseException:
        relay.show_held()
        raise
    finally:
        os.dup2(terminal, 2)
        relay.is_starting = False


class _Relay(threading.Thread):
    """Passes bytes from a pipe to the terminal; while the JVM starts it holds back Ivy's lines."""

    def __init__(self, reading: int, terminal: int) -> None:
        super().__init__(name="standard error of the JVM", daemon=True)
        self._reading, self._terminal = reading, terminal
        self._held: list[bytes] = []
        self.is_starting = True

    def run(self) -> None:
        rest = b""
        while chunk := os.read(self._reading, CHUNK_BYTES):
            if not self.is_starting:
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

    def show_held(self) -> None:
        """Print what was held back."""
        os.write(self._terminal, b"".join(line + b"\n" for line in self._held))

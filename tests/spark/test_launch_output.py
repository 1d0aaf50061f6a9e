"""Ivy's report and Spark's remarks on its start stay off the terminal, everything else and all of a failed start is shown."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import subprocess, sys, time
from interest_tiers.spark.launch_output import hide_ivy_report
child = None
try:
    with hide_ivy_report():
        script = 'import sys, time; print(":: loading settings :: url", file=sys.stderr); '
        script += 'print("26/11/30 WARN NativeCodeLoader: Unable to load native-hadoop library", file=sys.stderr); '
        script += 'print("WARN of Spark", file=sys.stderr, flush=True); print("started", flush=True); '
        script += 'time.sleep(0.5); print(":: after the start", file=sys.stderr, end="", flush=True)'
        child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        child.stdout.readline()
        time.sleep(0.1)
        if FAILS:
            raise OSError("no jars")
except OSError as error:
    print(f"failed: {error}", file=sys.stderr)
child.wait()
time.sleep(0.1)
print("end", file=sys.stderr)
"""


def standard_error(fails: bool) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("FAILS", str(fails))], capture_output=True, text=True, check=True, timeout=60
    )
    return ended.stderr


def test_ivy_is_hidden_while_the_jvm_starts_and_nothing_after_it() -> None:
    assert standard_error(fails=False) == "WARN of Spark\n:: after the startend\n"


def test_a_failed_start_shows_what_was_held_back() -> None:
    shown = standard_error(fails=True)
    assert ":: loading settings" in shown and "NativeCodeLoader" in shown and "failed: no jars" in shown

"""spark-submit jobs/history.py ...: the same as the command interest-tiers history."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["history", *sys.argv[1:]]))

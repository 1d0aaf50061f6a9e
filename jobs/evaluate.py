"""spark-submit jobs/evaluate.py ...: the same as the command interest-tiers evaluate."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))

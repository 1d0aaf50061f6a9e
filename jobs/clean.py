"""spark-submit jobs/clean.py ...: the same as the command interest-tiers clean."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["clean", *sys.argv[1:]]))

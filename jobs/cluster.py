"""spark-submit jobs/cluster.py ...: the same as the command interest-tiers cluster."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["cluster", *sys.argv[1:]]))

"""spark-submit jobs/plan.py ...: the same as the command interest-tiers plan."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["plan", *sys.argv[1:]]))

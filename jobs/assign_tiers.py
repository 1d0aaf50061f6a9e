"""spark-submit jobs/assign_tiers.py ...: the same as the command interest-tiers assign_tiers."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["assign_tiers", *sys.argv[1:]]))

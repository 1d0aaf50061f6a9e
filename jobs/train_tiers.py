"""spark-submit jobs/train_tiers.py ...: the same as the command interest-tiers train_tiers."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["train_tiers", *sys.argv[1:]]))

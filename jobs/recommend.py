"""spark-submit jobs/recommend.py ...: the same as the command interest-tiers recommend."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["recommend", *sys.argv[1:]]))

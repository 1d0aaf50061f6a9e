"""spark-submit jobs/show.py ...: the same as the command interest-tiers show."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["show", *sys.argv[1:]]))

"""spark-submit jobs/report.py ...: the same as the command interest-tiers report."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))

"""spark-submit jobs/similar.py ...: the same as the command interest-tiers similar."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["similar", *sys.argv[1:]]))

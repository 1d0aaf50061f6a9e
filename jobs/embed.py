"""spark-submit jobs/embed.py ...: the same as the command interest-tiers embed."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["embed", *sys.argv[1:]]))

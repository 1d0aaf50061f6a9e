"""spark-submit jobs/build_interests.py ...: the same as the command interest-tiers build_interests."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["build_interests", *sys.argv[1:]]))

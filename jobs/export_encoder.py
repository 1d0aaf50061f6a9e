"""spark-submit jobs/export_encoder.py ...: the same as the command interest-tiers export_encoder."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["export_encoder", *sys.argv[1:]]))

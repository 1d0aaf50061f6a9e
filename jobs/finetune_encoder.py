"""spark-submit jobs/finetune_encoder.py ...: the same as the command interest-tiers finetune_encoder."""

import sys

from interest_tiers.stages.command_line import main

if __name__ == "__main__":
    sys.exit(main(["finetune_encoder", *sys.argv[1:]]))

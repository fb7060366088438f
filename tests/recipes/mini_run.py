"""The command line with `mini` as one more command, in a process of its own: python mini_run.py mini --corpus FILE."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from mini_recipe import mini

from glasshouse import cli

if __name__ == "__main__":
    torch.set_num_threads(1)
    cli.cli.add_command(cli.recipe_command(mini), "mini")
    cli.main()

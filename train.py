"""Train a network: `python train.py model=simple_cnn`; see src/viewfinder/cli/train.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from viewfinder.cli.exit import exit_with_message

if __name__ == "__main__":
    with exit_with_message():
        from viewfinder.cli.train import main

        main()

"""The program: ``datastill`` and ``python -m datastill``."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C while the libraries are being imported ends in one line, too."""
    try:
        from .cli import main as command_line  # imports PyTorch, which takes seconds

        return command_line()
    except KeyboardInterrupt:
        print("\ndatastill: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

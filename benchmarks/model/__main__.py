"""Prints what each model comes to, a line at a time; run with `make bench-model`."""

import sys

from benchmarks.model import timing


def main() -> None:
    """Print the lines of each part."""
    for line in timing.lines():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

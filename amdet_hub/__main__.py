"""The door of `amdet-hub`, `hf-amdet` and `python -m amdet_hub`. Knows: the program's name.

Refuses to know: anything else.
"""

import sys
from collections.abc import Sequence
from pathlib import PurePath

# The console scripts. Run any other way (`python -m amdet_hub`), the first name is shown.
PROGRAM_NAMES = ("amdet-hub", "hf-amdet")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; those of the process when None.

    Returns:
        The exit code: 0 no backdoor found, 1 backdoor detected, 2 usage or error, 3 inconclusive or nothing to scan,
            130 interrupted.
    """
    try:
        from amdet_hub.cli.app import app
    except KeyboardInterrupt:  # while Python was still reading our files
        return 130
    called_as = PurePath(sys.argv[0]).stem if sys.argv else ""
    return app.run(argv, prog_name=called_as if called_as in PROGRAM_NAMES else PROGRAM_NAMES[0])


if __name__ == "__main__":
    sys.exit(main())

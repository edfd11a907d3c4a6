"""`python -m amdet_hub.testing.serve org/model=FOLDER ...`: a local Hub with these repositories, until Ctrl-C.

Knows: the command line around `LocalHub`. Refuses to know: torch, and any network but loopback. To try the real
command line on encoders of your own:

    python -m amdet_hub.testing.serve org/base=./base org/suspect=./suspect > hub.env &
    . ./hub.env        # once it says that it serves
    amdet-hub scan org/suspect --reference org/base
    kill %1

Standard output holds the lines to export and nothing else; the rest goes to standard error.
"""

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from amdet_hub.testing.local_hub import LocalHub

# Who the printed lines sign in as: may read everything and open pull requests.
USER, TOKEN = "visitor", "hf_local_visitor"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        argv: the command line, without the program's name.

    Returns:
        0 when it was stopped, 2 with one sentence on standard error when a repository or the port cannot be served.
    """
    parser = argparse.ArgumentParser(
        prog="python -m amdet_hub.testing.serve",
        description=(
            "Serve folders as repositories of a Hub on this machine, and print the environment that leads to it."
        ),
    )
    parser.add_argument(
        "models", nargs="+", type=_model, metavar="org/model=FOLDER", help="a repository and the folder with its files"
    )
    parser.add_argument("--port", type=int, default=0, help="of the Hub; default: a free one")
    args = parser.parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts a job in the background without the first
        signal.signal(number, signal.default_int_handler)
    try:
        with LocalHub(port=args.port) as hub:
            hub.add_user(USER, token=TOKEN)
            for repo_id, folder in args.models:
                hub.add_model(repo_id, folder)
            for name, value in hub.environment(USER).items():
                sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
            sys.stdout.flush()
            sys.stderr.write(f"Serving {len(args.models)} repositories at {hub.endpoint}. Ctrl-C stops.\n")
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
    return 2


def _model(text: str) -> tuple[str, Path]:
    repo_id, equals, folder = text.partition("=")
    if not repo_id or not equals or not folder:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form org/model=FOLDER")
    if not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"'{folder}' is not a folder")
    return repo_id, Path(folder)


if __name__ == "__main__":
    sys.exit(main())

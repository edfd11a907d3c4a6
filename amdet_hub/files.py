"""The one way to write a file whole, and the one way to read a file that may be too large. Standard library only."""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: it takes the place of `path` when the block ends well, and goes when not.

    Makes the folder, and keeps the mode of a file that was there.

    Raises:
        OSError: the file system refuses; the file that was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield draft
        if path.exists():
            shutil.copymode(path, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file whole: a reader sees the old content or the new one. Makes the folder. Raises: OSError."""
    with draft_of(path) as draft, draft.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def create_private(path: Path, content: bytes) -> None:
    """Create a file whole that only its owner can read; one that is there stays. Makes the folder. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_at_most(path: Path, max_bytes: int) -> bytes:
    """The content of a file, of which never more than `max_bytes` and one are read.

    Raises:
        OSError: it cannot be read, or is larger (`EFBIG`).
    """
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes:,} bytes", str(path))
    return content


def read_json_object(path: Path, max_bytes: int) -> dict[str, Any]:
    """The JSON object in a file of ours; an empty one when it is absent, too large, damaged or something else."""
    try:
        data = json.loads(read_at_most(path, max_bytes))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}

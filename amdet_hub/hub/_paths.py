"""Which paths inside a repository are plain ones. Standard library only.

A listing comes from the repository's owner. A path that could leave its folder, that two systems would read
differently, or that cannot be stored is refused before anything is done with it.
"""

from collections.abc import Iterable

from amdet_hub.errors import BadRepository
from amdet_hub.records import RepoFile

# More files than this is no model repository, and listing them only costs.
MAX_FILES = 50_000

# Longest path, in UTF-8; more than any file system here stores in one piece.
MAX_PATH_BYTES = 1024


def path_fault(path: str) -> str | None:
    """Why `path` is not a plain relative path with `/` between its names; None when it is one."""
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        return "its name is not valid Unicode"
    faults = (
        (not path or size_bytes > MAX_PATH_BYTES, "its name is empty or too long"),
        (any(ord(c) < 32 or ord(c) == 127 for c in path), "its name holds control characters"),
        ("\\" in path, "its name holds a backslash"),
        (path.startswith("/") or path[1:2] == ":", "its path is absolute"),
        (any(part in ("", ".", "..") for part in path.split("/")), "its path does not stay inside the repository"),
    )
    return next((fault for found, fault in faults if found), None)


def checked_listing(files: Iterable[RepoFile]) -> tuple[RepoFile, ...]:
    """The files of a Hub repository, sorted by path.

    Raises:
        BadRepository: a path is not a plain one, occurs twice, or differs from another one only in case.
    """
    seen: dict[str, RepoFile] = {}
    for file in files:
        if (fault := path_fault(file.path)) is not None:
            raise BadRepository(file.path.encode(errors="backslashreplace").decode(), fault)
        # On a file system that ignores case, the second of two such files would replace the first.
        if (other := seen.setdefault(file.path.casefold(), file)) is not file:
            raise BadRepository(file.path, f"it clashes with '{other.path}' where upper and lower case are the same")
    return tuple(sorted(seen.values(), key=lambda file: file.path))

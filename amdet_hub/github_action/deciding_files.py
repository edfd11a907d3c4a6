"""The files of the checkout that decide how it is judged: configuration, baseline, reference. Standard library only.

The author of a pull request writes every file of its head. So in a pull request these files are copied from its base
commit, and one that is not there is not used. After a push they are the checkout's own.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from amdet_hub.errors import ConfigError
from amdet_hub.github_action.git import copy_files, has_commit
from amdet_hub.github_action.job import Event, inside
from amdet_hub.github_action.lfs import materialize


@dataclass(frozen=True)
class DecidingFiles:
    """Where the deciding files of one job lie.

    Attributes:
        root: the checkout, a real path.
        event: what started the job.
        copies: a folder outside of the checkout, for what is copied from the base commit.
        unused: a sentence for each file that was named and is not used. `find` adds to it.
    """

    root: Path
    event: Event
    copies: Path
    unused: list[str] = field(default_factory=list)

    def find(self, name: str, path: str) -> Path | None:
        """Where the file or folder lies that the input `name` names; None when the base commit lacks it.

        Raises:
            BadRepository: the Git LFS object of a copied file cannot be had.
            ConfigError: the path leads out of the checkout, or git cannot read the base commit.
        """
        if not self.event.is_proposal:
            return inside(self.root, path, name)
        base, place = self.event.base, self._place(path)
        if place is None:
            raise ConfigError(name, "it leads out of the checkout")
        if base is not None and has_commit(self.root, base) and copy_files(self.root, base, place, self.copies):
            materialize(self.root, self.copies / place)
            return self.copies / place
        self.unused.append(
            f"'{name}' is not used: the base commit holds no '{place}', or is not in this clone (fetch-depth: 0)"
        )
        return None

    def reference(self, named: str | None) -> str | None:
        """The reference as `scan` takes it. A Hub id, and a path outside of the checkout, stay. Raises: as `find`."""
        is_path = named is not None and named.startswith((".", "/", "~"))
        if named is None or not (is_path and self.event.is_proposal) or self._place(named) is None:
            return named
        found = self.find("reference", named)
        return None if found is None else str(found)

    def _place(self, path: str) -> str | None:
        """The path from the root of the checkout, None outside of it. Links of the head do not count."""
        written = os.path.abspath(self.root / Path(path).expanduser())
        inner = next((p for p in (written, os.path.realpath(written)) if Path(p).is_relative_to(self.root)), None)
        return None if inner is None else Path(inner).relative_to(self.root).as_posix()

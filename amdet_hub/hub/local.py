"""A folder, or one `.safetensors` file, in the place of a Hub repository. Standard library only; knows no Hub.

The folder may be anybody's: a download, a clone, an unpacked archive. Nothing outside it is ever listed, measured or
read, whatever links say. One exception is the Hub cache, where a snapshot is made of links into the `blobs` folder
beside it.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path

from amdet_hub.errors import BadRepository, FileChanged, FileNotInRepo, TargetError
from amdet_hub.hub._front_matter import MAX_CARD_BYTES, claims_of
from amdet_hub.hub._paths import MAX_FILES, path_fault
from amdet_hub.records import FetchPlan, ProgressCallback, RepoFile, RepoRef, RepoSnapshot, TensorInfo
from amdet_hub.weight_formats import weight_format

_SKIPPED_FOLDERS = frozenset({".git", ".cache", "__pycache__", ".ipynb_checkpoints"})


class LocalSource:
    """Read access to a folder; implements `RepoSource`.

    For one file, the source is the folder it lies in, without what lies deeper.

    Args:
        ref: a `RepoRef` of kind "local".

    Raises:
        TargetError: the path is gone or cannot be read.
        BadRepository: a link leads out of the folder, or a name cannot be used.
    """

    def __init__(self, ref: RepoRef) -> None:
        path = Path(ref.repo_id).expanduser()
        single = path.is_file()
        try:
            self._root = (path.parent if single else path).resolve(strict=True)
            if not self._root.is_dir():
                raise TargetError(ref.raw, "there is no such file or folder")
            self._allowed = (self._root, *_cache_blobs(self._root))
            self._versions: dict[str, tuple[int, int, int]] = {}
            self._read: set[str] = set()
            files = tuple(sorted(self._listed(deep=not single), key=lambda file: file.path))
        except OSError as error:
            raise TargetError(ref.raw, f"it cannot be read ({error.strerror or 'system error'})") from error
        self.snapshot = RepoSnapshot(ref.repo_id, "local", None, files)
        claims = claims_of(self.snapshot, lambda card: self.read_small(card.path, max_bytes=MAX_CARD_BYTES))
        self.snapshot = RepoSnapshot(ref.repo_id, "local", None, files, claims.base_models, license=claims.license)

    def read_small(self, path: str, *, max_bytes: int) -> bytes:
        """Whole content of a small file.

        Raises:
            FileNotInRepo: it is not listed, or gone.
            BadRepository: it is larger than `max_bytes`, or now a link out of the folder.
            FileChanged: it is another file than the listed one.
        """
        with self._open(path) as stream:
            data = stream.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise BadRepository(path, f"it is larger than the {max_bytes:,} bytes that such a file may have")
        return data

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        """Bytes `start <= i < stop` of a file, fewer only at its end.

        Raises:
            FileNotInRepo: it is not listed, or gone.
            BadRepository: it is now a link out of the folder.
            FileChanged: it is another file than the listed one.
        """
        with self._open(path) as stream:
            stream.seek(max(start, 0))
            return stream.read(max(stop - max(start, 0), 0))

    def fetch(self, path: str, progress: ProgressCallback | None = None) -> Path:
        """The file itself, where it lies.

        Raises:
            FileNotInRepo: it is not listed, or gone.
            BadRepository: it is now a link out of the folder.
            FileChanged: it is another file than the listed one.
        """
        place = self._place(path)
        if progress is not None:
            size_bytes = place.stat().st_size
            progress("download", size_bytes, size_bytes)
        return place

    def fetch_tensors(
        self, path: str, tensors: Mapping[str, TensorInfo], progress: ProgressCallback | None = None
    ) -> Path:
        """The file itself. Raises: as `fetch`."""
        return self.fetch(path, progress)

    def plan_fetch(self, path: str, tensors: Mapping[str, TensorInfo] | None) -> FetchPlan:
        """Nothing is transferred. Raises: as `fetch`."""
        self._place(path)
        return FetchPlan(0, 0, whole=True)

    def check_unchanged(self) -> None:
        """Compare every file that was read with its listing, also one that was exchanged and put back.

        Raises:
            BadRepository: one is now a link out of the folder.
            FileChanged: one is another file now, or gone.
        """
        for path in sorted(self._read):
            try:
                self._place(path)
            except FileNotInRepo as error:
                raise FileChanged(path) from error

    def _listed(self, *, deep: bool) -> Iterator[RepoFile]:
        count = 0
        for folder, folders, names in os.walk(self._root, onerror=_raise):
            if (
                Path(folder) != self._root
                and (fault := path_fault(Path(folder).relative_to(self._root).as_posix())) is not None
            ):
                # also before a folder of a thousand levels exhausts the walk
                raise BadRepository(
                    os.path.relpath(folder, self._root).encode(errors="backslashreplace").decode(), fault
                )
            folders[:] = sorted(name for name in folders if name not in _SKIPPED_FOLDERS) if deep else []
            for name in [*names, *(n for n in folders if os.path.islink(os.path.join(folder, n)))]:
                file = self._entry(Path(folder, name))
                if file is not None:
                    count += 1
                    if count > MAX_FILES:
                        raise BadRepository(
                            file.path, f"the folder holds more than {MAX_FILES:,} files; name the model's own folder"
                        )
                    yield file

    def _entry(self, place: Path) -> RepoFile | None:
        """The listing's row for one name; None for what is not a file.

        A link to a folder inside is not followed: it is listed once, there.
        """
        path = place.relative_to(self._root).as_posix()
        if (fault := path_fault(path)) is not None:
            raise BadRepository(path.encode(errors="backslashreplace").decode(), fault)
        try:
            facts = place.stat()
        except OSError as error:  # a link to nothing, or gone again
            if (
                place.suffix == ".json" or weight_format(path, 0) != "document"
            ):  # a scan that does not see it would clear it
                raise BadRepository(path, "it is a link to nothing, or cannot be read") from error
            return None
        if not self._inside(place):
            raise BadRepository(path, "it is a link that leads out of the folder")
        self._versions[path] = _version(facts)
        return RepoFile(path, facts.st_size) if stat.S_ISREG(facts.st_mode) else None

    def _inside(self, place: Path) -> bool:
        try:
            real = place.resolve()
        except (OSError, RuntimeError):  # a loop of links
            return False
        return any(real.is_relative_to(root) for root in self._allowed)

    def _place(self, path: str) -> Path:
        if self.snapshot.file(path) is None:
            raise FileNotInRepo(self.snapshot.repo_id, path)
        place = self._root / path
        if not self._inside(place):
            raise BadRepository(path, "it is a link that leads out of the folder")
        if not place.is_file():
            raise FileNotInRepo(self.snapshot.repo_id, path)
        self._read.add(path)
        if _version(place.stat()) != self._versions[path]:
            raise FileChanged(path)
        return place

    def _open(self, path: str) -> BufferedReader:
        try:
            return self._place(path).open("rb")
        except FileNotFoundError as error:
            raise FileNotInRepo(self.snapshot.repo_id, path) from error
        except OSError as error:
            raise BadRepository(path, f"it cannot be read ({error.strerror or 'system error'})") from error


def _version(facts: os.stat_result) -> tuple[int, int, int]:
    """What tells a file from another in its place. The time of change, unlike that of modification, cannot be set."""
    return facts.st_ino, facts.st_size, facts.st_ctime_ns


def _cache_blobs(root: Path) -> tuple[Path, ...]:
    """The `blobs` folder that a snapshot of the Hub cache (`models--org--name/snapshots/SHA`) links into."""
    blobs = root.parent.parent / "blobs"
    is_snapshot = root.parent.name == "snapshots" and blobs.parent.name.startswith("models--")
    return (blobs,) if is_snapshot and blobs.is_dir() and not blobs.is_symlink() else ()


def _raise(error: OSError) -> None:
    raise error

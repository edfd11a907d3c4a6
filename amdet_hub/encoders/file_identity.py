"""What identifies the content of a repository's file, from its listing where that says so. Standard library only."""

import hashlib
from weakref import WeakKeyDictionary

from amdet_hub.records import RepoSource, ResolvedEncoder

# Files of a folder state no digest, and one scan asks for that of each up to four times: it is read once a source.
_HASHED: WeakKeyDictionary[RepoSource, dict[str, str]] = WeakKeyDictionary()


def file_identity(path: str, source: RepoSource) -> str:
    """The sha256 of a file, which the Hub states of LFS files, or git's id of a small file at a pinned commit.

    Raises:
        FileChanged: a local file is another one than the listed.
        HubError: it could not be read.
    """
    file = source.snapshot.file(path)
    if file is not None and file.sha256:
        return f"sha256:{file.sha256}"
    if file is not None and file.blob_id and source.snapshot.commit_sha is not None:
        return f"git:{file.blob_id}"
    place, known = source.fetch(path), _HASHED.setdefault(source, {})
    if path not in known:
        with place.open("rb") as stream:
            known[path] = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    return known[path]


def forget(source: RepoSource) -> None:
    """Have every file of a folder read again when its identity is asked for next."""
    _HASHED.pop(source, None)


def brings_no_tokenizer(encoder: ResolvedEncoder, earlier: ResolvedEncoder, source: RepoSource) -> bool:
    """Whether an encoder has no tokenizer but that of an earlier one of its repository, byte for byte."""
    if not encoder.tokenizer_files or encoder.tokenizer_files == earlier.tokenizer_files:
        return True
    one, other = (
        [(path.rpartition("/")[2], file_identity(path, source)) for path in e.tokenizer_files]
        for e in (encoder, earlier)
    )
    return one == other

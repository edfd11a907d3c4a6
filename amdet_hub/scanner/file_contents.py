"""What the files of an encoder hold, as digests, and whether it stays the same during a scan. Torch-free."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from amdet_hub.errors import FileChanged
from amdet_hub.records import RepoSource, ResolvedEncoder
from amdet_hub.scanner.resolve import EncoderPair

# Files of a folder state no digest, and one scan asks for that of each up to four times: it is read once a source.
_HASHED: WeakKeyDictionary[RepoSource, dict[str, str]] = WeakKeyDictionary()


def content(path: str, source: RepoSource) -> str:
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


def paths_of(encoder: ResolvedEncoder) -> tuple[str, ...]:
    """The weight and tokenizer files of an encoder."""
    return (*(file.path for file in encoder.weight_files), *encoder.tokenizer_files)


@contextmanager
def unchanged(pair: EncoderPair) -> Iterator[None]:
    """Hold the files of a pair to what they are: hashed before and after the block, and none exchanged meanwhile.

    Raises:
        FileChanged: a file that was read is another one now.
        HubError: one could not be read.
    """
    base, reference = pair.lora_base, pair.reference
    parts = [(pair.suspect, pair.source)]
    parts += [(base.encoder, base.source)] if base is not None else []
    if reference.encoder is not None and reference.source is not None:
        parts.append((reference.encoder, reference.source))
    files = [(path, source) for encoder, source in parts for path in paths_of(encoder)]
    before = [content(path, source) for path, source in files]
    yield
    for _, source in parts:
        source.check_unchanged()
        _HASHED.pop(source, None)
    for (path, source), earlier in zip(files, before, strict=True):
        if content(path, source) != earlier:
            raise FileChanged(path)

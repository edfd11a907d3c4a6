"""The files of an encoder, and whether they stay the same during a scan. Torch-free."""

from collections.abc import Iterator
from contextlib import contextmanager

from amdet_hub.encoders.file_identity import file_identity, forget
from amdet_hub.errors import FileChanged
from amdet_hub.records import ResolvedEncoder
from amdet_hub.scanner.resolve import EncoderPair


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
    before = [file_identity(path, source) for path, source in files]
    yield
    for _, source in parts:
        source.check_unchanged()
        forget(source)
    for (path, source), earlier in zip(files, before, strict=True):
        if file_identity(path, source) != earlier:
            raise FileChanged(path)

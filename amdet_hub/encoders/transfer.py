"""The transfer of one tower's tensors from a repository to this machine, and its cost.

Imports no torch, fetches no weights.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from amdet_hub.encoders.key_layouts import wanted_names
from amdet_hub.encoders.tensor_table import read_table
from amdet_hub.records import FetchPlan, ProgressCallback, RepoFile, RepoSource, ResolvedEncoder, TensorInfo


def fetch_file(
    resolved: ResolvedEncoder,
    source: RepoSource,
    file: RepoFile,
    progress: ProgressCallback | None,
    *,
    whole_files: bool,
) -> tuple[Path, Mapping[str, TensorInfo]]:
    """A local file with the tower's tensors of one file, and that file's whole checked header.

    Raises:
        BadRepository: the header is malformed.
        HubError: the file could not be fetched.
    """
    if whole_files:
        source.fetch(file.path, progress)  # first, so that the table is that of the file whose sha256 was checked
    header = read_table(source, file.path, partial(wanted_names, resolved))
    wanted = _wanted(resolved, header)
    if whole_files or not wanted:
        return source.fetch(file.path, progress), header
    return source.fetch_tensors(file.path, wanted, progress), header


def plan_tower(resolved: ResolvedEncoder, source: RepoSource, *, whole_files: bool = False) -> tuple[FetchPlan, ...]:
    """The transfer of `load_tower` with the same arguments as things are now, file by file.

    Raises:
        BadRepository: a header is malformed.
        HubError: a header could not be read.
    """
    return tuple(
        source.plan_fetch(file.path, None if whole_files else _wanted(resolved, read_table(source, file.path)))
        for file in resolved.weight_files
    )


def _wanted(resolved: ResolvedEncoder, header: Mapping[str, TensorInfo]) -> dict[str, TensorInfo] | None:
    """The tensors to fetch of a file; None, which is all, where none is wanted by name, as of an adapter's."""
    return {name: header[name] for name in sorted(wanted_names(resolved, header))} or None

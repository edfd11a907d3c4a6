"""Which tensors of a repository travel to this machine for one tower, and what that costs.

Imports no torch, fetches no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amdet_hub.encoders.key_layouts import wanted_names
from amdet_hub.encoders.safetensors_header import read_header
from amdet_hub.records import FetchPlan, ProgressCallback, RepoFile, RepoSource, ResolvedEncoder, TensorInfo


def fetch_file(
    resolved: ResolvedEncoder,
    source: RepoSource,
    file: RepoFile,
    progress: ProgressCallback | None,
    *,
    whole_files: bool,
) -> tuple[Path, Mapping[str, TensorInfo]]:
    """A local file with what one of its files holds of a tower, and that file's whole checked header.

    Raises:
        BadRepository: the header is malformed.
        HubError: the file could not be fetched.
    """
    header = read_header(source, file.path)
    wanted = {name: header[name] for name in sorted(wanted_names(resolved, header))}
    in_part = (
        wanted and not whole_files
    )  # of a file of which nothing is wanted by name, such as an adapter's, everything is
    return source.fetch_tensors(file.path, wanted, progress) if in_part else source.fetch(file.path, progress), header


def plan_tower(resolved: ResolvedEncoder, source: RepoSource, *, whole_files: bool = False) -> tuple[FetchPlan, ...]:
    """What `load_tower` with the same arguments would transfer now, file by file.

    Raises:
        BadRepository: a header is malformed.
        HubError: a header could not be read.
    """
    plans = []
    for file in resolved.weight_files:
        tensors = None
        if not whole_files:
            header = read_header(source, file.path)
            tensors = {name: header[name] for name in wanted_names(resolved, header)} or None
        plans.append(source.plan_fetch(file.path, tensors))
    return tuple(plans)

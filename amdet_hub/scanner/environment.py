"""Versions and hardware that make a result. Imports nothing of what it names."""

import datetime
import importlib.metadata
import os
import platform

import amdet_hub
from amdet_hub.records import Environment


def describe_environment(
    *, device: str = "cpu", dtype: str = "float32", processes: int = 1, threads: int | None = None
) -> Environment:
    """This machine's versions, and what the scan runs on; `threads` None is one for each CPU."""
    return Environment(
        amdet_hub=amdet_hub.__version__,
        python=platform.python_version(),
        torch=importlib.metadata.version("torch"),
        transformers=importlib.metadata.version("transformers"),
        accelerate=importlib.metadata.version("accelerate"),
        huggingface_hub=importlib.metadata.version("huggingface_hub"),
        device=device,
        dtype=dtype,
        num_processes=processes,
        num_threads=threads or os.cpu_count() or 1,
    )


def utc_now() -> str:
    """The present time, RFC 3339 in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

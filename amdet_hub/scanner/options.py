"""How a scan is run: device, dtype, time, memory and processes. Torch-free."""

import os
from dataclasses import dataclass

from amdet_hub.errors import ConfigError


@dataclass(frozen=True)
class ScanOptions:
    """How to run a scan; nothing here is meant to change a verdict.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: of the sweep's and the inversion's matrix products: "auto" (bfloat16 where the machine multiplies it
            faster), "float32", "bfloat16".
        timeout_s: time budget in seconds, for resolving, downloads and the scan together; when it is spent, the
            partial report is inconclusive.
        max_memory_bytes: memory the batches may take; they start smaller to stay below it.
        use_reference: False for `--no-reference`.
        rescan: True scans again what an earlier scan has answered.
    """

    device: str = "auto"
    dtype: str = "auto"
    timeout_s: float | None = None
    max_memory_bytes: int | None = None
    use_reference: bool = True
    rescan: bool = False

    def __post_init__(self) -> None:
        named = self.device.startswith("cuda:") and self.device[5:].isdigit()
        if self.device not in ("auto", "cpu", "cuda") and not named:
            raise ConfigError("device", f"'{self.device}' is none of auto, cpu, cuda, cuda:N")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise ConfigError("dtype", f"'{self.dtype}' is none of auto, float32, bfloat16")


DEFAULT_OPTIONS = ScanOptions()


def is_main_process() -> bool:
    """Whether this process prints and writes, by the launcher's variables."""
    return int(os.environ.get("RANK", "0")) == 0


def several_processes() -> bool:
    """Whether a launcher started other processes for the same scan."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1

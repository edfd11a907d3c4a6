"""Processes, device, dtype, memory and time of a scan. The only place that knows accelerate.

One process or several (`accelerate launch`, `torchrun`) do the same chunks of work and get the same numbers; see
`amdet_hub.detect.context.Workers`.
"""

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, gather_object
from accelerate.utils.memory import should_reduce_batch_size

from amdet_hub.errors import ConfigError, ResourceError
from amdet_hub.hub.time_limit import TimeSpent
from amdet_hub.scanner.options import ScanOptions, several_processes

T = TypeVar("T")
Problem = Literal["memory", "time"]

# live activations of one row in units of hidden_size floats, measured on the sweep's extend(); only sizes the first
# batch
_BYTES_A_ROW = 40


# How long a process waits for the others. The backends' own 10 to 30 minutes are less than a stage may take on a small
# machine. The launcher notices at once when a process dies.
_PATIENCE = datetime.timedelta(days=1)


def make_accelerator(device: str) -> Accelerator:
    """The accelerator of this scan.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N"; with several processes the launcher assigns GPUs and "cuda:N" is
            refused.

    Raises:
        ConfigError: the device is not there.
    """
    wants_cuda = device.startswith("cuda")
    if wants_cuda and not torch.cuda.is_available():
        raise ConfigError("device", "no CUDA device is available here")
    several = several_processes()
    if several and ":" in device:
        raise ConfigError("device", "with several processes the launcher assigns the devices; say cuda")
    if wants_cuda and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise ConfigError("device", f"there is no {device}; this machine has {torch.cuda.device_count()}")
    if not several and AcceleratorState._shared_state:
        AcceleratorState._reset_state(True)  # an earlier scan of this process may have chosen another device
    return Accelerator(
        cpu=device == "cpu" or not torch.cuda.is_available(),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_PATIENCE)],
    )


def scan_device(accelerator: Accelerator, device: str) -> torch.device:
    """Where the tensors go: the accelerator's device, or the GPU that was named."""
    return torch.device(device) if ":" in device else torch.device(accelerator.device)


def sweep_dtype(device: torch.device, dtype: str) -> torch.dtype:
    """The dtype of the sweep's matrix products: bfloat16 where the hardware multiplies it, unless named."""
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16")
    return torch.bfloat16 if fast else torch.float32


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Add the time of the block to what a stage took."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - began


class AcceleratedWorkers:
    """`Workers` over the accelerator's processes, with a time budget and batches that shrink when memory runs out.

    Attributes:
        rank: number of this process.
        size: how many there are.
        batch_sizes: what each stage ran with, by stage name.
        stage_seconds: how long each stage took in this process, waiting for the others included.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        options: ScanOptions,
        on_stage: Callable[[str], None] = lambda stage: None,
        *,
        started: float,
        hidden_size: int,
    ) -> None:
        self.rank = int(accelerator.process_index)
        self.size = int(accelerator.num_processes)
        self._deadline = None if options.timeout_s is None else started + options.timeout_s
        memory = options.max_memory_bytes
        self._most_rows = None if memory is None else max(1, memory // (4 * hidden_size * _BYTES_A_ROW))
        self._sharing = False
        self._on_stage = on_stage
        self.batch_sizes: dict[str, int] = {}
        self.stage_seconds: dict[str, float] = {}

    def share(self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]) -> list[T]:
        """See `Workers.share`.

        Raises:
            TimeSpent: the budget ended on some process; all of them raise.
            ResourceError: not even the smallest batch fits.
        """
        with timed(self.stage_seconds, stage):
            self._on_stage(stage)
            self._sharing = True
            try:
                return self._shared(stage, batch, n_chunks, work)
            finally:
                self._sharing = False
                self._on_stage("")

    def _shared(
        self, stage: str, batch: int, n_chunks: Callable[[int], int], work: Callable[[int, int], T]
    ) -> list[T]:
        if self._most_rows is not None and stage.startswith("sweep"):
            batch = min(batch, self._most_rows)
        while True:
            mine, problem = self._my_chunks(batch, n_chunks(batch), work)
            problems: list[Problem | None] = gather_object([problem])
            if "time" in problems:
                raise TimeSpent
            if "memory" not in problems:
                break
            if batch == 1:
                raise ResourceError("memory", f"stage '{stage}' does not fit in memory even one item at a time")
            batch = max(1, batch // 2)
        self.batch_sizes[stage] = batch
        return [result for _, result in sorted(gather_object(mine), key=lambda pair: pair[0])]

    def _my_chunks(
        self, batch: int, count: int, work: Callable[[int, int], T]
    ) -> tuple[list[tuple[int, T]], Problem | None]:
        """This process's chunks with their numbers, or what stopped it."""
        done: list[tuple[int, T]] = []
        for number in range(self.rank, count, self.size):
            try:
                done.append((number, work(batch, number)))
            except TimeSpent:
                return [], "time"
            except (RuntimeError, MemoryError) as error:
                if not (isinstance(error, MemoryError) or should_reduce_batch_size(error)):
                    raise
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                return [], "memory"
        return done, None

    def check_time(self) -> None:
        """Raise TimeSpent when the budget is spent.

        Between shared stages all processes decide together, so that none waits for another.
        """
        late = self._deadline is not None and time.monotonic() > self._deadline
        if not self._sharing and self.size > 1 and self._deadline is not None:
            late = any(gather_object([late]))
        if late:
            raise TimeSpent

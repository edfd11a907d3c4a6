"""Device, dtype and shared work, on this machine and on what the launcher's variables say."""

from __future__ import annotations

import time

import pytest
import torch

from amdet_hub.errors import ConfigError, ResourceError
from amdet_hub.hub.time_limit import TimeSpent
from amdet_hub.scanner import ScanOptions, is_main_process
from amdet_hub.scanner.runtime import AcceleratedWorkers, make_accelerator, scan_device, sweep_dtype


def workers(**options: object) -> AcceleratedWorkers:
    chosen = ScanOptions(device="cpu", **options)  # type: ignore[arg-type]
    return AcceleratedWorkers(make_accelerator("cpu"), chosen, started=time.monotonic(), hidden_size=100)


def test_the_main_process_is_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_main_process()
    monkeypatch.setenv("RANK", "1")
    assert not is_main_process()
    monkeypatch.setenv("RANK", "0")
    assert is_main_process()


def test_the_cpu_is_always_there() -> None:
    accelerator = make_accelerator("cpu")
    assert scan_device(accelerator, "cpu") == torch.device("cpu")
    assert make_accelerator("cpu").num_processes == 1, "and again in the same process"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_that_is_not_there(device: str) -> None:
    with pytest.raises(ConfigError, match="no CUDA device is available here"):
        make_accelerator(device)


def test_dtype_that_was_asked_for() -> None:
    cpu = torch.device("cpu")
    assert sweep_dtype(cpu, "float32") is torch.float32
    assert sweep_dtype(cpu, "bfloat16") is torch.bfloat16
    assert sweep_dtype(cpu, "auto") in (torch.float32, torch.bfloat16)


def test_results_come_in_order_and_the_batch_is_recorded() -> None:
    shared = workers()
    assert shared.share("squares", 3, lambda size: 4, lambda size, number: (size, number * number)) == [
        (3, 0),
        (3, 1),
        (3, 4),
        (3, 9),
    ]
    assert shared.batch_sizes == {"squares": 3}
    assert (shared.rank, shared.size) == (0, 1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
            " allocate 9 bytes."
        ),
        MemoryError(),
    ],
)
def test_each_kind_of_memory_shortage_halves_the_batch(error: Exception) -> None:
    def work(size: int, number: int) -> int:
        if size > 6:
            raise error
        return size

    shared = workers()
    assert shared.share("stage", 25, lambda size: -(-25 // size), work) == [6] * 5
    assert shared.batch_sizes == {"stage": 6}


def test_memory_that_never_suffices() -> None:
    def work(size: int, number: int) -> int:
        raise MemoryError

    with pytest.raises(ResourceError) as caught:
        workers().share("stage", 4, lambda size: 1, work)
    assert caught.value.resource == "memory"


def test_a_memory_limit_concerns_the_sweep_only() -> None:
    shared = workers(max_memory_bytes=4 * 100 * 40 * 7)
    shared.share("sweep screen", 1000, lambda size: 1, lambda size, number: size)
    shared.share("landscape", 25, lambda size: 1, lambda size, number: size)
    assert shared.batch_sizes == {"sweep screen": 7, "landscape": 25}


def test_spent_time_is_noticed_between_and_within_stages() -> None:
    shared = workers(timeout_s=0.0)
    time.sleep(0.001)
    with pytest.raises(TimeSpent):
        shared.check_time()

    def work(size: int, number: int) -> int:
        shared.check_time()
        return 0

    with pytest.raises(TimeSpent):
        shared.share("stage", 1, lambda size: 2, work)
    assert shared.batch_sizes == {}
    workers(timeout_s=100.0).check_time()
    workers().check_time()

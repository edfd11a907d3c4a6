"""Compiled = eager: the sweep's forward gives the same numbers through `torch.compile`, which no scan uses
(BENCHMARKS.md says why).
"""

from __future__ import annotations

import shutil
import warnings

import pytest
import torch

from amdet_hub.detect.search.null_distribution import log_variance
from tests.encoders.compiled import forwards, random_clip


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_compiled_is_eager(dtype: torch.dtype, tolerance: float) -> None:
    """Features, what a candidate removes of the prompts, and the candidate that removes most: which is what a verdict
    rests on.
    """
    tower = random_clip(2, 32, 2, vocab=60).to(torch.device("cpu"), dtype)
    candidates = torch.arange(40)[:, None]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compiler's own parts
        plain, fused = forwards(tower)
        eager, compiled = plain(candidates), fused(candidates)
    assert compiled.shape == eager.shape == (2, 40, 32)
    assert torch.allclose(compiled, eager, atol=tolerance)
    removed, again = log_variance(eager), log_variance(compiled)
    assert torch.allclose(removed, again, atol=2 * tolerance)
    assert int(removed.argmin()) == int(again.argmin())

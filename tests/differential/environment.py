"""The process in which the real libraries load: offline, quiet, with a Hub cache of its own.

Import this before any of them, in a process of its own: it sets what they read when they are imported.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRATCH = Path(tempfile.mkdtemp(prefix="differential-"))
"""Holds the repositories and the Hub cache of this process; the command removes it."""

HUB = SCRATCH / "hub"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

os.environ |= {
    "HF_HOME": str(SCRATCH),
    "HF_HUB_CACHE": str(HUB),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "1",
}
warnings.filterwarnings("ignore")
sys.path.append(str(Path(sys.prefix) / "openclip"))  # where `make test` puts open_clip and torchvision

import torch  # noqa: E402


def make_torchvision_importable() -> None:
    """Declare the two operators whose absence keeps torchvision from being imported.

    A torchvision that was built for another torch (a CUDA wheel beside a CPU one) cannot load its compiled
    operators, and then fails when it registers shapes for them. open_clip imports torchvision for images only.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return
    except RuntimeError:
        signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("nms", "qnms"):
            torch.library.define(f"torchvision::{operator}", signature)


make_torchvision_importable()

import diffusers  # noqa: E402
import transformers  # noqa: E402
from transformers import modeling_utils  # noqa: E402

from tests.differential.loaded import note_missing  # noqa: E402

transformers.logging.set_verbosity(transformers.logging.CRITICAL)
transformers.logging.disable_progress_bar()
diffusers.logging.set_verbosity(diffusers.logging.CRITICAL)
diffusers.logging.disable_progress_bar()
logging.disable(logging.CRITICAL)


def _watched(report: Callable[..., Any]) -> Callable[..., Any]:
    def watched(**arguments: Any) -> Any:
        note_missing(arguments["model"], arguments["loading_info"].missing_keys)
        return report(**arguments)

    return watched


# The one place where every load by transformers, also for other libraries, says what the files did not hold.
modeling_utils.log_state_dict_report = _watched(modeling_utils.log_state_dict_report)


def publish(folder: Path, repo_id: str) -> None:
    """Put a folder into the Hub cache, as if it had been downloaded."""
    cached = HUB / f"models--{repo_id.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / COMMIT).symlink_to(folder, target_is_directory=True)

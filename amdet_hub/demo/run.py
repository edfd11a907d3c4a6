"""What `amdet-hub demo` does: serve, scan, tell, propose.

Knows the order of the show; everything it shows is done by the real parts.

Refuses to know: detectors and the network. The Hub is `amdet_hub.testing.LocalHub` on loopback, and the client that
talks to it is the real one.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from amdet_hub.demo import WEIGHTS
from amdet_hub.records import SILENT, Monitor, ProgressCallback, ScanReport, VerdictLabel

if TYPE_CHECKING:
    from amdet_hub.hub import HubSettings
    from amdet_hub.testing import LocalHub

Emit = Callable[[str], None]

BASE, FINETUNED, BACKDOORED = "demo/base", "demo/finetuned", "demo/backdoored"
# What a right scan says of each, in the order they are scanned.
EXPECTED: tuple[tuple[str, VerdictLabel], ...] = ((FINETUNED, "no-backdoor-found"), (BACKDOORED, "backdoor-detected"))

# Ground truth stays off the Hub: the scan gets what a stranger's repository would have.
NOT_SERVED = ("provenance.json",)

# The diff's beginning says enough; the whole section is in the pull request.
SHOWN_DIFF_LINES = 24

USER, TOKEN = "visitor", "hf_demo_visitor"


def run_demo(emit: Emit, progress: ProgressCallback = SILENT.progress) -> int:
    """Serve three encoders from this machine, scan two of them over HTTP, and open a pull request with the finding.

    Args:
        emit: takes one block of text at a time.
        progress: as in `amdet_hub.records.Monitor`.

    Returns:
        0 when `demo/backdoored` was detected, `demo/finetuned` was not flagged and the pull request was read back; 1
        otherwise.

    Raises:
        AmdetError: a part failed; the command line finds the words.
    """
    from amdet_hub.report import RENDERERS
    from amdet_hub.testing import LocalHub

    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="amdet-hub-demo-") as folder,
        LocalHub() as hub,
        mock.patch.dict(os.environ, hub.environment()),  # no proxy, offline switch or token of the user reaches it
        _one_thread(),
    ):
        settings = _serve(hub, Path(folder))
        emit(_opening(hub))
        reports: dict[str, ScanReport] = {}
        for number, (repo_id, _) in enumerate(EXPECTED, start=1):
            emit(f"\n[{number}/3] amdet-hub scan {repo_id} --reference {BASE}\n")
            reports[repo_id] = _scan(repo_id, settings, progress)
            emit(RENDERERS["text"](reports[repo_id]))
        emit(f"\n[3/3] amdet-hub card push {BACKDOORED} --yes\n")
        proposed = _propose(hub, reports[BACKDOORED], settings, emit)
    right = all(reports[repo_id].verdict.label == label for repo_id, label in EXPECTED)
    emit(_closing(right and proposed, time.monotonic() - started))
    return 0 if right and proposed else 1


def _serve(hub: LocalHub, folder: Path) -> HubSettings:
    from amdet_hub.hub import HubSettings

    for repo_id in (BASE, FINETUNED, BACKDOORED):
        files = sorted((WEIGHTS / repo_id.partition("/")[2]).iterdir())
        hub.add_model(repo_id, {f.name: f.read_bytes() for f in files if f.is_file() and f.name not in NOT_SERVED})
    hub.add_user(USER, token=TOKEN)
    return HubSettings(endpoint=hub.endpoint, token=TOKEN, cache_dir=folder / "cache")


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread: in matrices this small a second one costs more than it brings."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _scan(repo_id: str, settings: HubSettings, progress: ProgressCallback) -> ScanReport:
    from amdet_hub.config import ScanConfig
    from amdet_hub.hub import parse_target
    from amdet_hub.scanner import Scanner

    # seed 0: the demonstration shows the same figures everywhere
    scanner = Scanner(ScanConfig.for_preset("standard", seed=0), settings, parse_target(BASE))
    return scanner.scan(scanner.resolve(parse_target(repo_id)), Monitor(progress))


def _propose(hub: LocalHub, report: ScanReport, settings: HubSettings, emit: Emit) -> bool:
    """Show the card's diff, open the pull request, read it back over HTTP.

    Returns whether what came back is what was sent.
    """
    from amdet_hub.hub import open_source, parse_target
    from amdet_hub.model_card.edit import diff, remove_section
    from amdet_hub.model_card.publish import push_card
    from amdet_hub.model_card.render import card_files

    before = open_source(parse_target(BACKDOORED), settings).read_small("README.md", max_bytes=1 << 20)
    emit(_shortened(diff(before, card_files(report, before)["README.md"], "README.md")))
    result = push_card(report, settings)
    if result.number is None:
        return False
    proposal = next((pull for pull in hub.pull_requests(BACKDOORED) if pull.number == result.number), None)
    after = open_source(parse_target(BACKDOORED, revision=f"refs/pr/{result.number}"), settings).read_small(
        "README.md", max_bytes=1 << 20
    )
    if (
        proposal is None
        or proposal.status != "open"
        or after == before
        or remove_section(after) != before
        or hub.read(BACKDOORED, "README.md") != before
    ):
        return False
    emit(
        f'\nPull request #{proposal.number} "{proposal.title}" is open on {BACKDOORED}, by {proposal.author}.\nRead'
        " back over HTTP: the section is there, every other byte of the card is as it was, and main was not touched."
    )
    return True


def _shortened(text: str) -> str:
    lines = text.splitlines()
    if len(lines) <= SHOWN_DIFF_LINES:
        return text.rstrip("\n")
    return "\n".join(
        [
            *lines[:SHOWN_DIFF_LINES],
            f"... and {len(lines) - SHOWN_DIFF_LINES} more lines: evidence, how it was scanned, what is not covered",
        ]
    )


def _opening(hub: LocalHub) -> str:
    return (
        f"A Hugging Face Hub now runs on this machine, at {hub.endpoint}. Nothing leaves it.\n"
        "It serves three small CLIP text encoders, trained for this demonstration:\n\n"
        f"  {BASE:<16}  the original\n"
        f"  {FINETUNED:<16}  a fine-tune of it, with nothing to hide\n"
        f"  {BACKDOORED:<16}  a fine-tune of it, with a hidden trigger word; its model card promises the best\n\n"
        "The scans below see the weights, as anybody would who downloads them. They are not told which is which."
    )


def _closing(right: bool, seconds: float) -> str:
    if right:
        return (
            f"\nBoth verdicts are right, and the owner has a pull request to read. {seconds:.0f} seconds.\nYour turn:"
            " amdet-hub scan org/model"
        )
    return "\nThe demonstration did not end as it should. Please report this, with the text above."

"""From an exception to an exit code, one sentence, and what to do next.

One table, one row for every class of `amdet_hub.errors`.

Knows: exit codes and advice. Refuses to know: how anything was tried. Text of a repository inside a message is
escaped, a token is blanked.
"""

from __future__ import annotations

import errno
import os
import shlex
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amdet_hub import errors
from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_ERROR, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED
from amdet_hub.cli._output import escape, format_bytes, format_duration, say
from amdet_hub.model_card.publish import PushRefused


@dataclass(frozen=True)
class Row:
    """What the command line makes of one error class: its exit code, and the next step as a function of the error."""

    exit_code: int
    advice: Callable[[Any], str]


def _always(text: str, exit_code: int = EXIT_ERROR) -> Row:
    return Row(exit_code, lambda _: text)


def _repo(error: errors.HubError) -> str:
    return shlex.quote(error.repo_id or "org/model")


def _site(error: errors.HubError) -> str:
    return (error.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _not_found(error: errors.RepoNotFound) -> str:
    if error.token_sent:
        return (
            "Check the spelling. If it is private, your token does not open it: `hf auth whoami` says whose token"
            " it is."
        )
    return "Check the spelling. If it is private, sign in with `hf auth login` or set HF_TOKEN."


def _denied(error: errors.AccessDenied) -> str:
    if error.status == 401:
        return "The token is missing, wrong or expired: run `hf auth login`, or set HF_TOKEN."
    return (
        f"The token lacks this right: make one that has it at {_site(error)}/settings/tokens, then run `hf auth"
        " login`."
    )


def _rate_limited(error: errors.RateLimited) -> str:
    if error.retry_after_s is None:
        return "Wait a few minutes and run it again. Signed-in users may ask more often: `hf auth login`."
    return (
        f"Wait {error.retry_after_s:.0f} seconds and run it again. Signed-in users may ask more often: `hf auth"
        " login`."
    )


def _resource(error: errors.ResourceError) -> str:
    amounts = ""
    if error.needed is not None and error.available is not None:
        show = format_duration if error.resource == "time" else format_bytes
        amounts = f"Needed {show(error.needed)}, there is {show(error.available)}. "
    advice = {
        "disk": "Free some space, put downloads elsewhere with --cache-dir, or raise --max-download.",
        "download": "Raise --max-download, or narrow the scan with --subfolder.",
        "memory": "Use --device cpu or a device with more memory, or raise --max-memory.",
        "time": "Raise --timeout.",
    }
    return amounts + advice.get(error.resource, "Run `amdet-hub doctor` to see what this machine offers.")


def _nothing(error: errors.NothingToScan) -> str:
    if error.pickle_only:
        return (
            "Only safetensors files are opened, because loading a pickle can run code. Ask the owner for safetensors, "
            "or convert it at https://huggingface.co/spaces/safetensors/convert."
        )
    return "Text encoders of CLIP and SigLIP are scanned. If there is one in a folder of it, name it with --subfolder."


TABLE: Mapping[type[errors.AmdetError], Row] = {
    errors.AmdetError: _always("Set AMDET_HUB_DEBUG=1 to see where it happened."),
    errors.TargetError: _always(
        "Write org/model, org/model@revision, hf://org/model, a Hub URL, or a path that starts with ./ or / (a folder"
        " or one .safetensors file)."
    ),
    errors.ConfigError: _always("`amdet-hub scan --help` lists the settings and what they accept."),
    errors.HubError: _always("Run `amdet-hub doctor` to check the connection and the token."),
    errors.RepoNotFound: Row(EXIT_ERROR, _not_found),
    errors.RepoGated: Row(
        EXIT_ERROR, lambda e: f"Accept its terms at {e.terms_url}, then sign in with `hf auth login` and run it again."
    ),
    errors.RevisionNotFound: Row(
        EXIT_ERROR,
        lambda e: (
            f"{_site(e)}/{e.repo_id}/commits/main lists its commits. Leave the revision out to use the main branch."
        ),
    ),
    errors.FileNotInRepo: Row(
        EXIT_ERROR, lambda e: f"`amdet-hub resolve {_repo(e)}` shows what the repository holds."
    ),
    errors.AccessDenied: Row(EXIT_ERROR, _denied),
    errors.RateLimited: Row(EXIT_ERROR, _rate_limited),
    errors.HubUnavailable: _always(
        "Check the network and the proxy with `amdet-hub doctor`, and try again. --offline uses what was downloaded"
        " before."
    ),
    errors.OfflineMiss: _always(
        "Run it once without --offline (and without HF_HUB_OFFLINE), so that the file is downloaded."
    ),
    errors.DownloadCorrupt: _always(
        "Nothing of it was kept: run it again. If it happens again, a proxy or the repository serves other bytes."
    ),
    errors.CommitConflict: _always(
        "Nothing was written: run the same command again, and it starts from the present state."
    ),
    errors.PullRequestClosed: Row(
        EXIT_ERROR,
        lambda e: (
            f"The owner said no, so no other one is opened. {_site(e)}/{e.repo_id}/discussions/{e.number} is the place"
            " to ask; reopened, it is updated."
        ),
    ),
    errors.ResourceError: Row(EXIT_ERROR, _resource),
    errors.OutputError: _always("Choose another path with -o FORMAT=PATH. What stood there before is unchanged."),
    errors.NothingToScan: Row(EXIT_INCONCLUSIVE, _nothing),
    errors.BadRepository: _always("No verdict is given for a broken repository. Its owner has to mend the file."),
    errors.BadWeights: _always("No verdict is given for a broken checkpoint. Its owner has to upload it again."),
    errors.CardError: _always(
        "Mend README.md first: UTF-8, valid YAML at its top if any, at most one pair of amdet-hub markers. Nothing was"
        " written."
    ),
    PushRefused: _always(
        "Scan the repository again as it is now (`amdet-hub scan org/model -o json=report.json`) and push that report."
    ),
    errors.ReportError: _always("Give a JSON report that `amdet-hub scan -o json=PATH` wrote with this version."),
    errors.ShapeError: _always("This is a defect of amdet-hub: please report it with the command you ran."),
    errors.BackdoorDetected: _always(
        "Do not load it. `amdet-hub scan TARGET` shows the evidence and names the trigger.", EXIT_DETECTED
    ),
    errors.NotCleared: _always("`amdet-hub scan TARGET` scans it and says what is missing.", EXIT_INCONCLUSIVE),
    errors.Interrupted: _always("Run the same command again to finish it.", EXIT_INTERRUPTED),
}


def explain(error: BaseException) -> tuple[int, str]:
    """Exit code and words, one or two lines, for any exception.

    An `AmdetError` is looked up by class, then by its nearest base. Anything else is a full disk, spent memory, or our
    defect.
    """
    known = _as_known(error)
    if known is None:
        detail = escape(str(error))[:300]
        return (
            EXIT_ERROR,
            (
                f"Error: unexpected {type(error).__name__}{f': {detail}' if detail else ''}\nThis is a defect of"
                " amdet-hub: please report it with the command you ran (AMDET_HUB_DEBUG=1 shows where it happened)."
            ),
        )
    row = next(TABLE[cls] for cls in type(known).__mro__ if cls in TABLE)
    said = escape(str(known))
    return (
        row.exit_code,
        f"Error: {said if said.endswith(('.', '?', '!')) else f'{said}.'}\n{escape(row.advice(known))}",
    )


def _as_known(error: BaseException) -> errors.AmdetError | None:
    if isinstance(error, errors.AmdetError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.ResourceError("disk", "there is no space left on this disk")
    if (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    ):  # torch's, which is not imported here
        return errors.ResourceError("memory", "this machine ran out of memory")
    return None


def report_error(error: BaseException, *, about: str | None = None) -> int:
    """Say what went wrong on stderr, with a traceback only if AMDET_HUB_DEBUG is set. Returns the exit code.

    Args:
        error: what happened.
        about: the target it happened to, said where there are several.
    """
    if os.environ.get("AMDET_HUB_DEBUG"):
        say("".join(traceback.format_exception(error)).rstrip())
    code, words = explain(error)
    say(f"{escape(about)}: {words}" if about else words)
    return code

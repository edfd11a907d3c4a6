"""From an error to a sentence, its code and the next step. One table, one row for every class of `amdet_hub.errors`.

Every surface finds its words here: the command line, the tools of coding agents, the web page. Those without flags get
the advice that names none.

Knows: advice. Refuses to know: exit codes, and how anything is printed. The text is not escaped.
"""

import errno
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amdet_hub import errors
from amdet_hub.report import wording
from amdet_hub.report.quantities import format_bytes, format_duration

Advice = str | Callable[[Any], str]


@dataclass(frozen=True)
class Row:
    """The next step after one class of errors: at the command line, and in a place that has no flags.

    Attributes:
        flags: a sentence, or a function of the error that makes one.
        plain: the same without flags and verbs; None where `flags` names none.
    """

    flags: Advice
    plain: Advice | None = None


@dataclass(frozen=True)
class Explanation:
    """An error in words: a sentence with its full stop, the stable code, and the next step."""

    sentence: str
    code: str
    advice: str


def _site(error: errors.HubError) -> str:
    return (error.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _not_found(error: errors.RepoNotFound) -> str:
    check = "Check the spelling. Only models are scanned, no datasets and no Spaces."
    if error.token_sent:
        return f"{check} If it is private, your token does not open it: `hf auth whoami` says whose token it is."
    return f"{check} If it is private, sign in with `hf auth login` or set HF_TOKEN."


def _denied(error: errors.AccessDenied) -> str:
    if error.status == 401:
        return "The token is missing, wrong or expired: run `hf auth login`, or set HF_TOKEN."
    return f"The token lacks this right: make one at {_site(error)}/settings/tokens, then run `hf auth login`."


def _rate_limited(error: errors.RateLimited) -> str:
    wait = "a few minutes" if error.retry_after_s is None else f"{error.retry_after_s:.0f} seconds"
    return f"Wait {wait} and run it again. Signed-in users may ask more often: `hf auth login`."


def _amounts(error: errors.ResourceError) -> str:
    if error.needed is None or error.available is None:
        return ""
    show = format_duration if error.resource == "time" else format_bytes
    return f"It needs {show(error.needed)}, there is {show(error.available)}. "


def _resource(error: errors.ResourceError) -> str:
    steps = {
        "disk": "Free some space, put downloads elsewhere with --cache-dir, or raise --max-download.",
        "download": "Raise --max-download, or narrow the scan with --subfolder.",
        "memory": "Use --device cpu or a device with more memory, or raise --max-memory.",
        "time": "Raise --timeout.",
    }
    return _amounts(error) + steps.get(error.resource, "Run `amdet-hub doctor` to see what this machine offers.")


def _resource_plain(error: errors.ResourceError) -> str:
    return f"{_amounts(error)}Scan it on a machine with more of it."


TABLE: Mapping[type[errors.AmdetError], Row] = {
    errors.AmdetError: Row("Set AMDET_HUB_DEBUG=1 to see where it happened.", ""),
    errors.TargetError: Row(
        "Write org/model, org/model@revision, hf://org/model, a Hub URL, or a path that starts with ./ or / (a folder"
        " or one weight file).",
        "An id looks like org/model or org/model@revision. The address of a model page works too.",
    ),
    errors.ConfigError: Row("`--help` lists the settings and their values.", ""),
    errors.HubError: Row("Run `amdet-hub doctor` to check the connection and the token.", "Try again in a moment."),
    errors.RepoNotFound: Row(_not_found),
    errors.RepoGated: Row(
        lambda e: f"Accept its terms at {e.terms_url}, then sign in with `hf auth login` and run it again.",
        lambda e: f"Accept its terms at {e.terms_url}, then sign in and try again.",
    ),
    errors.RevisionNotFound: Row(
        lambda e: f"Leave it out to use the main branch. {_site(e)}/{e.repo_id}/commits/main lists the commits."
    ),
    errors.FileNotInRepo: Row(
        lambda e: f"`amdet-hub resolve {shlex.quote(e.repo_id or 'org/model')}` shows what the repository holds.",
        lambda e: f"{_site(e)}/{e.repo_id}/tree/main lists its files.",
    ),
    errors.AccessDenied: Row(_denied),
    errors.RateLimited: Row(_rate_limited),
    errors.HubUnavailable: Row(
        "Check the network and the proxy with `amdet-hub doctor`, and try again. --offline uses what was downloaded"
        " before.",
        "Try again in a few minutes.",
    ),
    errors.OfflineMiss: Row(
        "Run it once without --offline (and without HF_HUB_OFFLINE), so that the file is downloaded.",
        "Ask once while the Hub can be reached, so that the file is downloaded.",
    ),
    errors.DownloadCorrupt: Row(
        "Nothing of it was kept: run it again. If it happens again, a proxy or the repository serves other bytes."
    ),
    errors.CommitConflict: Row(
        "Nothing was written: run the same command again, and it starts from the present state.",
        "Nothing was written. Try again: it starts from the present state.",
    ),
    errors.PullRequestClosed: Row(
        lambda e: (
            f"The owner said no, so no other one is opened. {_site(e)}/{e.repo_id}/discussions/{e.number} is the place"
            " to ask; reopened, it is updated."
        )
    ),
    errors.ResourceError: Row(_resource, _resource_plain),
    errors.OutputError: Row("Choose another path with -o FORMAT=PATH. What stood there before is unchanged.", ""),
    errors.BadRepository: Row("No verdict is given for a broken repository. Its owner has to mend the file."),
    errors.BadWeights: Row("No verdict is given for a broken checkpoint. Its owner has to upload it again."),
    errors.FileChanged: Row("Scan it again when nothing else writes to the folder."),
    errors.CardError: Row(
        "Mend README.md first: UTF-8, valid YAML at its top if any, at most one pair of amdet-hub markers. Nothing was"
        " written."
    ),
    errors.PushRefused: Row(
        "Scan the repository again as it is now (`amdet-hub scan org/model -o json=report.json`), and push that.",
        "Scan the repository again as it is now, and propose that report.",
    ),
    errors.ReportError: Row("Give a file that this version of amdet-hub wrote."),
    errors.ShapeError: Row("This is a defect of amdet-hub: please report it with the command you ran."),
    errors.BackdoorDetected: Row(
        "Do not load it. `amdet-hub scan TARGET` shows the evidence and names the trigger.", "Do not load it."
    ),
    errors.NotCleared: Row(
        "`amdet-hub scan TARGET` scans it and says what is missing.", "Scan it before you load it."
    ),
    errors.Interrupted: Row("Run the same command again to finish it.", "Start it again whenever you like."),
}


def explain(error: BaseException, *, flags: bool = False) -> Explanation:
    """An error in words.

    An `AmdetError` is looked up by class, then by its nearest base. Anything else is a file that cannot be used, a
    full disk, spent memory, or our own defect.

    Args:
        error: the error.
        flags: whether the reader sits at a command line, and can follow advice that names flags and verbs.
    """
    known = as_known(error)
    if known is None:
        detail = f": {error}"[:300] if str(error) else ""
        where = " (AMDET_HUB_DEBUG=1 shows where it happened)" if flags else ""
        return Explanation(
            f"unexpected {type(error).__name__}{detail}",
            "unexpected-error",
            f"This is a defect of amdet-hub: please report it with the command you ran{where}.",
        )
    row = next(TABLE[cls] for cls in type(known).__mro__ if cls in TABLE)
    advice = row.flags if flags or row.plain is None else row.plain
    return Explanation(wording.sentence(str(known)), known.code, advice if isinstance(advice, str) else advice(known))


def as_known(error: BaseException) -> errors.AmdetError | None:
    """The error as one of ours, None where it is an unexpected one."""
    if isinstance(error, errors.AmdetError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.ResourceError("disk", "there is no space left on this disk")
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return errors.ConfigError(f"'{error.filename}'", error.strerror.lower())
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, not imported here
        return errors.ResourceError("memory", "this machine ran out of memory")
    return None

"""From what the user typed to a `RepoRef`.

Looks at the local disk to tell a path from an id; makes no request, and never guesses.

Understood: `org/model`, `org/model@rev`, a legacy single name, `hf://[models/]org/model[@rev][/folder]`, a Hub URL as
a browser shows it (`/tree/REV/folder`, `/blob/REV/file.safetensors`), and, starting with `.`, `/` or `~`, a folder or
one `.safetensors` file. Refuses to know: whether a repository exists. The Hub's client is imported only for `hf://`
and URLs, whose grammar is its own.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

from amdet_hub.errors import TargetError
from amdet_hub.hub._paths import path_fault
from amdet_hub.records import RepoRef
from amdet_hub.weight_formats import is_read

_NOT_WEIGHTS = "a single file must be a .safetensors file or a checkpoint of torch (.bin, .pt, .pth, .ckpt)"
_REPO_ID = re.compile(r"(?:[A-Za-z0-9_](?:[\w.-]*[\w])?/)?[A-Za-z0-9_](?:[\w.-]*[\w])?", re.ASCII)
_MAX_ID_CHARS = 96
_MAX_REVISION_CHARS = 200
_FILE_ROUTE = re.compile(r"/(?:blob|resolve|raw|blame)/")


def is_repo_id(text: str) -> bool:
    """Whether `text` is a well-formed repository id, `org/name` or a legacy single name.

    Source: huggingface_hub `validate_repo_id`.
    """
    plain = len(text) <= _MAX_ID_CHARS and _REPO_ID.fullmatch(text) is not None
    return plain and "--" not in text and ".." not in text and not text.endswith(".git")


def parse_target(
    raw: str, *, revision: str | None = None, subfolder: str | None = None, endpoint: str | None = None
) -> RepoRef:
    """The `RepoRef` that `raw` names.

    For one file, `filename` is its whole path inside the source and `subfolder` is "". One local file's `repo_id` is
    the path as given, and its source is the folder it lies in.

    Args:
        raw: what the user typed.
        revision: branch, tag, commit or `refs/pr/N`; may not contradict one in `raw`.
        subfolder: folder to look in; may not contradict one in `raw`.
        endpoint: base URL of the Hub whose URLs are understood besides the public Hub's.

    Raises:
        TargetError: `raw` cannot be understood, or could mean two things.
    """
    if not raw.strip() or any(ord(c) < 32 or ord(c) == 127 for c in raw):
        raise TargetError(raw, "it is empty or holds control characters")
    if raw.startswith((".", "/", "~")) or re.match(r"[A-Za-z]:[\\/]", raw):
        found = _local(raw)
    elif raw.startswith("hf://") or "://" in raw or raw.lower().startswith(("huggingface.co/", "hf.co/")):
        found = _hub_address(raw, endpoint)
    else:
        found = _bare_id(raw)
    return _narrowed(found, revision, subfolder)


def _local(raw: str) -> RepoRef:
    path = Path(raw).expanduser()
    try:
        if path.is_dir():
            return RepoRef("local", raw, raw)
        if not path.is_file():
            raise TargetError(raw, "there is no such file or folder")
    except (OSError, ValueError) as error:
        raise TargetError(raw, "the path cannot be read") from error
    if not is_read(path.name):
        raise TargetError(raw, _NOT_WEIGHTS)
    return RepoRef("local", raw, raw, filename=path.name)


def _bare_id(raw: str) -> RepoRef:
    name, at, revision = raw.partition("@")
    kind, _, rest = name.partition("/")
    _refuse(
        raw,
        (
            is_read(raw),
            f"it looks like a file; write ./{raw} for a local one, or hf://org/model/{raw.rpartition('/')[2]} for one"
            " on the Hub",
        ),
        (
            os.path.exists(raw) or os.path.exists(name),
            f"'./{name}' exists here too: write ./{name} for that, or hf://{name} for the Hub repository",
        ),
        (
            kind in ("datasets", "spaces") and rest.count("/") == 1,
            f"it is a {kind[:-1]}; only models can be scanned",
        ),
        (
            name.count("/") > 1,
            f"an id has one slash; write hf://{raw} for a folder of a Hub repository, or ./{raw} for a local path",
        ),
        (not is_repo_id(name), "a Hub id is org/model, of letters, digits, '-', '_' and '.'"),
        (at and not revision, "there is no revision after the '@'"),
    )
    return RepoRef("hub", name, raw, revision=revision or None)


def _hub_address(raw: str, endpoint: str | None) -> RepoRef:
    if raw.startswith("hf://") and raw.count("/") == 2:  # a legacy single name, which the client's parser refuses
        name, at, revision = raw.removeprefix("hf://").partition("@")
        if is_repo_id(name) and bool(at) == bool(revision):
            return RepoRef("hub", name, raw, revision=revision or None)
    from huggingface_hub import constants, parse_hf_uri
    from huggingface_hub.errors import HfUriError

    try:
        uri = parse_hf_uri(raw, endpoint=endpoint or constants.ENDPOINT)
    except HfUriError as error:
        raise TargetError(raw, error.msg.rstrip(".")) from error
    except ValueError as error:  # urlsplit, on an unbalanced bracket
        raise TargetError(raw, "it is not a URL of the Hub") from error
    if uri.type != "model":
        raise TargetError(raw, f"it is a {uri.type}; only models can be scanned")
    last = uri.path_in_repo.rpartition("/")[2]
    found = RepoRef("hub", uri.id, raw, revision=uri.revision)
    if is_read(last):
        return replace(found, filename=uri.path_in_repo)
    if last and not raw.startswith("hf://") and _FILE_ROUTE.search(raw):
        raise TargetError(raw, _NOT_WEIGHTS)
    return replace(found, subfolder=uri.path_in_repo.rstrip("/"))


def _narrowed(ref: RepoRef, revision: str | None, subfolder: str | None) -> RepoRef:
    revision, subfolder = revision or None, (subfolder or "").strip("/")
    folder = ref.subfolder if ref.filename is None else ref.filename.rpartition("/")[0]
    _refuse(
        ref.raw,
        (ref.kind == "local" and revision, "a local path has no revisions"),
        (
            revision and ref.revision and revision != ref.revision,
            f"it names the revision '{ref.revision}', and '{revision}' was asked for too",
        ),
        (
            subfolder and (ref.filename or ref.subfolder) and subfolder != folder,
            f"it names a place of its own, and the folder '{subfolder}' was asked for too",
        ),
    )
    ref = replace(ref, revision=ref.revision or revision, subfolder="" if ref.filename else ref.subfolder or subfolder)
    if subfolder and ref.kind == "hub" and subfolder == ref.subfolder:  # a report says what was asked for by `raw`
        ref = replace(ref, raw=f"hf://{ref.repo_id}{f'@{ref.revision}' if ref.revision else ''}/{subfolder}")
    if ref.revision is not None and _odd_revision(ref.revision):
        raise TargetError(ref.raw, "the revision is not a branch, tag or commit name")
    for part in (ref.subfolder, ref.filename or ""):
        if part and (fault := path_fault(part)) is not None:
            raise TargetError(ref.raw, f"'{part}' cannot be a path in a repository: {fault}")
    return ref


def _refuse(raw: str, *faults: tuple[object, str]) -> None:
    """Raise the `TargetError` of the first fault (whether it is there, and its reason) that is there."""
    for found, reason in faults:
        if found:
            raise TargetError(raw, reason)


def _odd_revision(revision: str) -> bool:
    """Whether git would refuse the name. Source: git-check-ref-format."""
    return (
        len(revision) > _MAX_REVISION_CHARS
        or revision.startswith(("-", "/", "."))
        or revision.endswith(("/", ".", ".lock"))
        or ".." in revision
        or "@{" in revision
        or "//" in revision
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]", revision) is not None
    )

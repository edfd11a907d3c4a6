"""A repository as the JSON the client reads: model info, tree entries, refs, commits.

Pure functions of the stored state.

Refuses to know: HTTP, users, and what a model is; `cardData` is the README's own claim.
"""

from collections.abc import Iterable
from typing import Any

from amdet_hub.testing.local_hub.cards import card_data
from amdet_hub.testing.local_hub.messages import HubRefusal
from amdet_hub.testing.local_hub.storage import Commit, FileEntry, Repository, git_id, sha1


def model_info(repo: Repository, commit: Commit, *, blobs: bool = False, security: bool = False) -> dict[str, Any]:
    """The answer of `/api/models/{id}`.

    `blobs` adds size, blob id and LFS facts to `siblings`, `security` the scan status of the files.
    """
    card = card_data(commit.files["README.md"].blob.read()) if "README.md" in commit.files else {}
    issues = [{"path": path, "level": level} for path, level in repo.issues.items()]
    return {
        "_id": sha1(repo.repo_id.encode())[:24],
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "author": repo.namespace or None,
        "sha": commit.sha,
        "lastModified": commit.date,
        "createdAt": repo.created,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": _tags(card),
        "siblings": [_sibling(entry, blobs=blobs) for entry in commit.files.values()],
        "usedStorage": sum(entry.blob.size for entry in commit.files.values()),
        **({"cardData": card} if card else {}),
        **{key: card[key] for key in ("library_name", "pipeline_tag") if isinstance(card.get(key), str)},
        **({"securityRepoStatus": {"scansDone": True, "filesWithIssues": issues}} if security else {}),
    }


# Properties that `expand` may name. Source: huggingface_hub 2.4, `hf_api.ExpandModelProperty_T`.
EXPANDABLE = frozenset(
    "author baseModels cardData childrenModelCount config createdAt disabled downloads downloadsAllTime evalResults"
    " gated gguf inference inferenceProviderMapping lastModified library_name likes mask_token model-index"
    " pipeline_tag private resourceGroup safetensors sha siblings spaces tags transformersInfo trendingScore"
    " usedStorage widgetData".split()
)


def expanded(info: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Only the named properties of a model info, and its id.

    Raises:
        HubRefusal: 400, a name that no model has.
    """
    wanted = set(names)
    if unknown := sorted(wanted - EXPANDABLE):
        raise HubRefusal(400, f"Invalid expand property '{unknown[0]}'")
    kept = {key: value for key, value in info.items() if key in wanted or key in ("_id", "id")}
    if "baseModels" in wanted and (base := _base_models(info.get("cardData") or {})):
        kept["baseModels"] = {"relation": "finetune", "models": [{"id": name} for name in base]}
    return kept


def _base_models(card: dict[str, Any]) -> list[str]:
    claimed = card.get("base_model")
    names = claimed if isinstance(claimed, list) else [claimed]
    return [name for name in names if isinstance(name, str)]


def _tags(card: dict[str, Any]) -> list[str]:
    tags = card.get("tags")
    found = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    found += [f"base_model:{name}" for name in _base_models(card)]
    return found + ([f"license:{card['license']}"] if isinstance(card.get("license"), str) else [])


def _lfs(entry: FileEntry, key: str) -> dict[str, Any]:
    """The facts of an LFS file, whose sha256 goes by two names; nothing of any other."""
    facts = {key: entry.blob.sha256, "size": entry.blob.size, "pointerSize": len(entry.pointer)}
    return {"lfs": facts} if entry.lfs else {}


def _sibling(entry: FileEntry, *, blobs: bool) -> dict[str, Any]:
    facts = {"blobId": entry.oid, "size": entry.blob.size, **_lfs(entry, "sha256")} if blobs else {}
    return {"rfilename": entry.path, **facts}


_SCANNED = {"status": "safe", "avScan": {"virusFound": False, "virusNames": None}, "pickleImportScan": None}


def path_info(repo: Repository, commit: Commit, path: str, *, expand: bool) -> dict[str, Any] | None:
    """One file or folder as a row of `tree` or `paths-info`; None where there is none of that name."""
    if (entry := commit.files.get(path)) is not None:
        more = {"lastCommit": _last_commit(repo.commits[entry.commit_sha]), "securityFileStatus": _SCANNED}
        return {
            "type": "file",
            "oid": entry.oid,
            "size": entry.blob.size,
            "path": path,
            **_lfs(entry, "oid"),
            **(more if expand else {}),
        }
    path = path.rstrip("/")
    inside = [entry for name, entry in commit.files.items() if name.startswith(f"{path}/")]
    if not inside:
        return None
    listed = "".join(f"{e.path}:{e.oid}\n" for e in inside).encode("utf-8", "surrogatepass")
    last = max((repo.commits[e.commit_sha] for e in inside), key=lambda c: c.date)
    return {
        "type": "directory",
        "oid": git_id(listed),
        "size": 0,
        "path": path,
        **({"lastCommit": _last_commit(last)} if expand else {}),
    }


def _last_commit(commit: Commit) -> dict[str, str]:
    return {"id": commit.sha, "title": commit.note.title, "date": commit.date}


def tree(repo: Repository, commit: Commit, under: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """The rows of a folder (`""` is the root), sorted by path; with `recursive` also those of every folder below.

    Raises:
        HubRefusal: 404 EntryNotFound, there is no such folder.
    """
    prefix = f"{under}/" if under else ""
    below = [path[len(prefix) :].split("/") for path in commit.files if path.startswith(prefix)]
    if under and not below:
        raise HubRefusal(
            404,
            f'{under} does not exist on "{commit.sha}"',
            code="EntryNotFound",
            headers={"X-Repo-Commit": commit.sha},
        )
    deepest = max(map(len, below), default=0) if recursive else 1
    found = {prefix + "/".join(parts[:depth]) for parts in below for depth in range(1, min(len(parts), deepest) + 1)}
    rows = (path_info(repo, commit, path, expand=expand) for path in sorted(found))
    return [row for row in rows if row is not None]


def refs(repo: Repository, *, pull_requests: bool) -> dict[str, Any]:
    """The answer of `/refs`."""

    def under(prefix: str, keep: str = "") -> list[dict[str, str]]:
        return [
            {"name": keep + ref.removeprefix(prefix), "ref": ref, "targetCommit": sha}
            for ref, sha in repo.refs.items()
            if ref.startswith(prefix)
        ]

    return {
        "branches": under("refs/heads/"),
        "converts": [],
        "tags": under("refs/tags/"),
        **({"pullRequests": under("refs/pr/", "refs/pr/")} if pull_requests else {}),
    }


def commit_row(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    """One row of the list of commits."""
    words = {"title": commit.note.title, "message": commit.note.message}
    return {
        "id": commit.sha,
        "authors": [{"user": commit.note.author}],
        "date": commit.date,
        **words,
        **({"formatted": words} if formatted else {}),
    }

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from amdet_hub.errors import BadRepository, FileChanged, FileNotInRepo, TargetError
from amdet_hub.hub import HubSettings, open_source, parse_target
from amdet_hub.records import RepoRef, RepoSource


def open_path(path: Path) -> RepoSource:
    return open_source(parse_target(str(path)), HubSettings())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    for name, data in {
        "README.md": b"---\nlicense: mit\nbase_model: a/b\n---\n",
        "text_encoder/model.safetensors": b"0123456789",
        ".git/config": b"secret",
        ".cache/x": b"x",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (tmp_path / "outside.txt").write_bytes(b"outside")
    return root


def test_a_folder_is_listed_and_read(folder: Path) -> None:
    source = open_path(folder)
    snapshot = source.snapshot
    assert [(f.path, f.size_bytes) for f in snapshot.files] == [
        ("README.md", 37),
        ("text_encoder/model.safetensors", 10),
    ]
    assert (snapshot.kind, snapshot.commit_sha, snapshot.license, snapshot.base_models) == (
        "local",
        None,
        "mit",
        ("a/b",),
    )
    assert snapshot.repo_id == str(folder)
    path = "text_encoder/model.safetensors"
    assert source.read_small(path, max_bytes=10) == b"0123456789"
    assert source.read_range(path, 3, 6) == b"345"
    assert source.read_range(path, 8, 99) == b"89"
    assert source.read_range(path, 5, 5) == b""
    seen: list[tuple[str, int, int]] = []
    assert source.fetch(path, lambda *step: seen.append(step)).read_bytes() == b"0123456789"
    assert seen == [("download", 10, 10)]


def test_a_single_file_lists_its_folder_and_nothing_deeper(folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(b"w")
    source = open_path(folder / "w.safetensors")
    assert [f.path for f in source.snapshot.files] == ["README.md", "w.safetensors"]
    assert source.snapshot.repo_id == str(folder / "w.safetensors")
    assert source.fetch("w.safetensors").read_bytes() == b"w"


def test_small_files_have_a_cap_and_unlisted_ones_are_not_read(folder: Path) -> None:
    source = open_path(folder)
    with pytest.raises(BadRepository, match="larger than"):
        source.read_small("README.md", max_bytes=5)
    for path in (
        "../outside.txt",
        "/etc/passwd",
        ".git/config",
        "nothing",
        "text_encoder",
        "text_encoder/../README.md",
        "a\0b",
    ):
        with pytest.raises(FileNotInRepo):
            source.read_small(path, max_bytes=100)
        with pytest.raises(FileNotInRepo):
            source.fetch(path)


@pytest.mark.parametrize("name", ["model.safetensors", "text_encoder/model-2.safetensors", "linked_folder"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    os.symlink(folder.parent if name == "linked_folder" else folder.parent / "outside.txt", folder / name)
    with pytest.raises(BadRepository, match="leads out") as caught:
        open_path(folder)
    assert caught.value.path == name


def test_links_inside_the_folder_are_fine(folder: Path) -> None:
    os.symlink("text_encoder/model.safetensors", folder / "model.safetensors")
    os.symlink("text_encoder", folder / "text_encoder_2")
    os.symlink("nothing", folder / "dangling")
    os.symlink("loop", folder / "loop")
    os.mkfifo(folder / "pipe")
    source = open_path(folder)
    assert [f.path for f in source.snapshot.files] == [
        "README.md",
        "model.safetensors",
        "text_encoder/model.safetensors",
    ]
    assert source.fetch("model.safetensors").read_bytes() == b"0123456789"


def test_a_link_to_nothing_is_not_passed_over_where_weights_should_be(folder: Path) -> None:
    os.symlink("nothing", folder / "model.safetensors")
    with pytest.raises(BadRepository, match="link to nothing"):
        open_path(folder)


def rewritten(path: Path) -> None:
    """Another content of the same size, with the time of modification set back."""
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchanged_and_put_back(path: Path) -> None:
    kept = path.with_name("kept")
    path.rename(kept)
    path.write_bytes(b"another")
    path.unlink()
    kept.rename(path)


@pytest.mark.parametrize("change", [rewritten, exchanged_and_put_back, Path.unlink])
def test_a_file_that_was_read_stays_what_it_is(folder: Path, change: Callable[[Path], None]) -> None:
    source, path = open_path(folder), "text_encoder/model.safetensors"
    source.check_unchanged()
    source.read_range(path, 0, 3)
    (folder / "trainer.log").write_text("what was not read")
    source.check_unchanged()
    change(folder / path)
    with pytest.raises(FileChanged):
        source.check_unchanged()
    with pytest.raises(FileNotInRepo if change is Path.unlink else FileChanged):
        source.read_range(path, 0, 3)


def test_a_file_swapped_after_listing_is_noticed(folder: Path) -> None:
    source = open_path(folder)
    weights = folder / "text_encoder/model.safetensors"
    weights.write_bytes(b"grown beyond its size")
    with pytest.raises(FileChanged):
        source.fetch("text_encoder/model.safetensors")
    weights.unlink()
    with pytest.raises(FileNotInRepo):
        source.fetch("text_encoder/model.safetensors")
    os.symlink(folder.parent / "outside.txt", weights)
    for read in (
        lambda p: source.fetch(p),
        lambda p: source.read_range(p, 0, 3),
        lambda p: source.read_small(p, max_bytes=99),
    ):
        with pytest.raises(BadRepository, match="leads out"):
            read("text_encoder/model.safetensors")


def test_a_snapshot_of_the_hub_cache_links_into_its_blobs(tmp_path: Path) -> None:
    repo = tmp_path / "models--org--m"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "blobs" / "abc").write_bytes(b"weights")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_bytes(b"x")
    os.symlink("../../blobs/abc", snapshot / "model.safetensors")
    assert open_path(snapshot).fetch("model.safetensors").read_bytes() == b"weights"
    os.symlink("../../refs/main", snapshot / "other.safetensors")
    with pytest.raises(BadRepository, match="leads out"):
        open_path(snapshot)


@pytest.mark.parametrize("name", [b"back\\slash", b"new\nline", b"\xff\xfe.safetensors"])
def test_a_name_that_cannot_be_used_is_refused(folder: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(folder), name), "wb") as stream:
        stream.write(b"x")
    with pytest.raises(BadRepository) as caught:
        open_path(folder)
    caught.value.path.encode()


def test_a_path_that_went_away_is_a_target_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError):
        open_source(RepoRef("local", str(tmp_path / "gone"), "gone"), HubSettings())


def test_an_odd_or_huge_readme_claims_nothing(folder: Path) -> None:
    (folder / "README.md").write_bytes(b"---\nlicense: mit\n---\n" + b"x" * (1 << 20))
    assert open_path(folder).snapshot.license is None

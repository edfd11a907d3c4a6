"""Only the wanted tensors are transferred: bytes on the wire, identical tensors, resumed downloads, lying servers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from amdet_hub.errors import DownloadCorrupt, HubUnavailable, OfflineMiss, RateLimited, ResourceError
from amdet_hub.hub import _byte_ranges as _spans
from amdet_hub.hub import open_at, own_cache
from amdet_hub.hub._byte_ranges import Piece, Span
from amdet_hub.records import RepoSource, TensorInfo
from amdet_hub.testing import LocalHub
from tests.hub.conftest import Settle

PATH = "model.safetensors"
Sizes = Mapping[str, int]


def clip_sizes() -> dict[str, int]:
    """Tensor bytes of CLIP ViT-L/14 at an eighth of its widths, float16, in the order of its file.

    Source: the header of the real file.
    """
    sizes = {"logit_scale": 2}
    for tower, layers, d, rows in (("text_model", 12, 96, 6176 + 77), ("vision_model", 24, 128, 588 + 257)):
        sizes[f"{tower}.embeddings.weight"] = 2 * rows * d
        for i in range(layers):
            for name, n in (("mlp.fc1", 4), ("mlp.fc2", 4), ("self_attn.qkv", 3), ("self_attn.out_proj", 1)):
                sizes |= {
                    f"{tower}.encoder.layers.{i}.{name}.bias": 2 * d,
                    f"{tower}.encoder.layers.{i}.{name}.weight": 2 * n * d * d,
                }
        if tower == "text_model":
            sizes["text_projection.weight"] = 2 * d * d
    return sizes | {"visual_projection.weight": 2 * 96 * 128}


def sdxl_sizes() -> dict[str, int]:
    """A single-file SDXL checkpoint, 12 MB, its components in true proportion (123, 695, 84 and 2567 million)."""
    sizes: dict[str, int] = {}
    for name, millions in (
        ("conditioner.embedders.0.transformer.text_model.", 123),
        ("conditioner.embedders.1.model.", 695),
        ("first_stage_model.", 84),
        ("model.diffusion_model.", 2567),
    ):
        sizes |= {f"{name}{i:02}.weight": millions * 3600 // 40 for i in range(40)}
    return sizes


def build(sizes: Sizes) -> tuple[bytes, dict[str, TensorInfo]]:
    """A safetensors file of random bytes, and its header's entries."""
    entries: dict[str, dict[str, Any]] = {}
    at = 0
    for name, size in sizes.items():
        entries[name] = {"dtype": "U8", "shape": [size], "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(entries).encode()
    places = {name: [8 + len(text) + offset for offset in entry["data_offsets"]] for name, entry in entries.items()}
    infos = {name: TensorInfo("U8", (sizes[name],), start, stop) for name, (start, stop) in places.items()}
    return len(text).to_bytes(8, "little") + text + random.Random(7).randbytes(at), infos


def text_tower(infos: Mapping[str, TensorInfo], *starts: str) -> dict[str, TensorInfo]:
    return {name: info for name, info in infos.items() if name.startswith(starts)}


def read_back(place: Path) -> dict[str, bytes]:
    """Every tensor of a local safetensors file, read by its header alone."""
    data = place.read_bytes()
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    entries.pop("__metadata__", None)
    assert max(e["data_offsets"][1] for e in entries.values()) == len(data) - 8 - length
    return {
        name: data[8 + length + e["data_offsets"][0] : 8 + length + e["data_offsets"][1]]
        for name, e in entries.items()
    }


CLIP, CLIP_INFOS = build(clip_sizes())
TEXT = text_tower(CLIP_INFOS, "text_model.", "text_projection.")
EXPECTED = {name: CLIP[i.start : i.stop] for name, i in TEXT.items()}


@pytest.fixture
def clip(hub: LocalHub, settle: Settle) -> RepoSource:
    hub.add_model("org/clip", {PATH: CLIP})
    return open_at("org/clip", None, settle(token="hf_alice"))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spans, "PART_BYTES", 512 << 10)


def sent_bytes(hub: LocalHub) -> int:
    """What the second host sent of files."""
    return sum(
        request.length
        for request in hub.requests
        if request.side == "lfs" and request.method == "GET" and request.status < 400
    )


def header_of(source: RepoSource, path: str = PATH) -> bytes:
    """Read the header as a scan does."""
    first = source.read_range(path, 0, 128 << 10)
    length = int.from_bytes(first[:8], "little")
    return first[8 : 8 + length] + (
        source.read_range(path, len(first), 8 + length) if 8 + length > len(first) else b""
    )


# ---------------------------------------------------------------- transferred bytes


def test_of_a_clip_model_a_third_is_transferred_and_its_tensors_are_identical(
    hub: LocalHub, clip: RepoSource, small_parts: None
) -> None:
    steps: list[tuple[str, int, int]] = []
    header_of(clip)
    plan = clip.plan_fetch(PATH, TEXT)
    before = sent_bytes(hub)
    place = clip.fetch_tensors(PATH, TEXT, lambda *step: steps.append(step))
    assert read_back(place) == EXPECTED
    assert sent_bytes(hub) <= 0.35 * len(CLIP)
    assert sent_bytes(hub) - before == plan.transfer_bytes == sum(t.size_bytes for t in TEXT.values())
    assert len([r for r in hub.requests if r.side == "lfs"]) - 1 == plan.n_requests == 8
    assert not plan.whole
    done = [d for _, d, _ in steps]
    assert done == sorted(done)
    assert steps[-1] == (
        "download",
        len(place.read_bytes()) - int.from_bytes(place.read_bytes()[:8], "little") - 8,
        done[-1],
    )
    assert {r.had_token for r in hub.requests if r.side == "lfs"} == {False}


def test_of_an_sdxl_file_a_quarter_is_transferred_for_both_towers(hub: LocalHub, settle: Settle) -> None:
    data, infos = build(sdxl_sizes())
    hub.add_model("org/xl", {PATH: data})
    source = open_at("org/xl", None, settle())
    header_of(source)
    for start in ("conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."):
        tower = text_tower(infos, start)
        assert read_back(source.fetch_tensors(PATH, tower)) == {
            name: data[i.start : i.stop] for name, i in tower.items()
        }
    assert sent_bytes(hub) <= 0.30 * len(data)
    assert len([r for r in hub.requests if r.side == "lfs"]) == 3


def test_a_tower_is_found_again_by_its_bytes_also_offline_and_elsewhere(
    hub: LocalHub, clip: RepoSource, settle: Settle
) -> None:
    header = header_of(clip)
    place = clip.fetch_tensors(PATH, TEXT)
    hub.add_model("other/copy", {"text/model.safetensors": CLIP})
    hub.forget_requests()
    copy = open_at("other/copy", None, settle())
    assert copy.fetch_tensors("text/model.safetensors", TEXT) == place
    assert copy.plan_fetch("text/model.safetensors", TEXT).transfer_bytes == 0
    assert sent_bytes(hub) == 0
    hub.forget_requests()
    offline = open_at("org/clip", None, settle(offline=True))
    assert header_of(offline) == header
    assert offline.fetch_tensors(PATH, TEXT) == place
    with pytest.raises(OfflineMiss):
        offline.fetch_tensors(PATH, text_tower(CLIP_INFOS, "text_model."))
    assert hub.requests == []


def test_another_endpoint_shares_nothing(hub: LocalHub, clip: RepoSource, settle: Settle) -> None:
    place = clip.fetch_tensors(PATH, TEXT)
    with LocalHub() as second:  # may state any sha256 for any bytes: what it sent must not be believed elsewhere
        second.add_model("org/clip", {PATH: CLIP})
        assert open_at("org/clip", None, settle(endpoint=second.endpoint)).fetch_tensors(PATH, TEXT) != place
        assert sent_bytes(second) > 0


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:-9], lambda b: b"", lambda b: b.replace(b"U8", b"I8", 1)],
)
def test_a_cached_tower_that_was_damaged_is_fetched_anew(
    clip: RepoSource, settle: Settle, damage: Callable[[bytes], bytes]
) -> None:
    place = clip.fetch_tensors(PATH, TEXT)
    place.write_bytes(damage(place.read_bytes()))
    assert read_back(open_at("org/clip", None, settle()).fetch_tensors(PATH, TEXT)) == EXPECTED


def test_a_damaged_header_is_read_anew(hub: LocalHub, clip: RepoSource, settle: Settle) -> None:
    header = header_of(clip)
    (head,) = own_cache(settle()).rglob("head")
    head.write_bytes(head.read_bytes()[:-1] + b"?")
    assert header_of(open_at("org/clip", None, settle())) == header


def test_the_whole_file_is_used_where_it_is_at_hand(hub: LocalHub, clip: RepoSource) -> None:
    whole = clip.fetch(PATH)
    hub.forget_requests()
    assert clip.plan_fetch(PATH, TEXT) == clip.plan_fetch(PATH, None)
    assert clip.plan_fetch(PATH, TEXT).transfer_bytes == 0
    assert clip.fetch_tensors(PATH, TEXT) == whole
    assert hub.requests == []


@pytest.mark.parametrize(
    "wanted", [CLIP_INFOS, text_tower(CLIP_INFOS, "vision_model.", "text_model.enc", "text_model.emb")]
)
def test_most_of_a_file_is_the_file(clip: RepoSource, wanted: dict[str, TensorInfo]) -> None:
    assert clip.plan_fetch(PATH, wanted).transfer_bytes == len(CLIP)
    assert clip.fetch_tensors(PATH, wanted).read_bytes() == CLIP


def test_a_small_file_is_fetched_whole_and_checked(hub: LocalHub, settle: Settle) -> None:
    data, infos = build({"a": 1000, "b": 1 << 20})
    hub.add_model("org/small", {PATH: data})
    assert open_at("org/small", None, settle()).fetch_tensors(PATH, {"a": infos["a"]}).read_bytes() == data


def test_a_server_without_ranges_sends_the_file(hub: LocalHub, clip: RepoSource) -> None:
    header = header_of(clip)
    hub.ignore_ranges(PATH)
    assert clip.fetch_tensors(PATH, TEXT).read_bytes() == CLIP
    assert header in CLIP


def test_a_header_is_read_from_a_server_without_ranges_too(hub: LocalHub, clip: RepoSource) -> None:
    hub.ignore_ranges(PATH)
    assert clip.read_range(PATH, 0, 128 << 10) == CLIP[: 128 << 10]
    assert clip.read_range(PATH, 128 << 10, 140 << 10) == CLIP[128 << 10 : 140 << 10]


def test_a_folder_hands_out_its_own_file(tmp_path: Path, settle: Settle) -> None:
    from amdet_hub.hub import open_source, parse_target

    (tmp_path / "m").mkdir()
    (tmp_path / "m" / PATH).write_bytes(CLIP)
    source = open_source(parse_target(str(tmp_path / "m")), settle())
    assert source.fetch_tensors(PATH, TEXT) == tmp_path / "m" / PATH
    assert source.plan_fetch(PATH, TEXT).transfer_bytes == 0


# ---------------------------------------------------------------- budget and disk


def test_the_budget_counts_what_is_transferred(hub: LocalHub, settle: Settle, small_parts: None) -> None:
    hub.add_model("org/clip", {PATH: CLIP})
    needed = sum(t.size_bytes for t in TEXT.values())
    tight = open_at("org/clip", None, settle(max_download_bytes=needed - 1))
    hub.forget_requests()
    with pytest.raises(ResourceError) as caught:
        tight.fetch_tensors(PATH, TEXT)
    assert (caught.value.resource, caught.value.needed, caught.value.available) == ("download", needed, needed - 1)
    assert hub.requests == []
    hub.truncate(
        PATH, keep_bytes=1000, times=3
    )  # what did not come does not count, and what came is not paid for again
    enough = open_at("org/clip", None, settle(max_download_bytes=needed))
    with pytest.raises(DownloadCorrupt):
        enough.fetch_tensors(PATH, TEXT)
    hub.behave()
    assert read_back(enough.fetch_tensors(PATH, TEXT)) == EXPECTED


def test_a_fallback_that_costs_too_much_is_refused(hub: LocalHub, settle: Settle) -> None:
    hub.add_model("org/clip", {PATH: CLIP})
    hub.ignore_ranges(PATH)
    source = open_at("org/clip", None, settle(max_download_bytes=len(CLIP) - 1))
    with pytest.raises(ResourceError) as caught:
        source.fetch_tensors(PATH, TEXT)
    assert (caught.value.resource, caught.value.needed) == ("download", len(CLIP))


def test_a_cache_that_cannot_be_written_costs_the_shortcut(clip: RepoSource, settle: Settle) -> None:
    own_cache(settle()).parent.mkdir(parents=True, exist_ok=True)
    own_cache(settle()).write_bytes(b"a file")
    assert clip.read_range(PATH, 0, 100) == CLIP[:100]
    assert clip.fetch_tensors(PATH, TEXT).read_bytes() == CLIP, "the whole file, in the Hub's cache"


def test_weights_that_no_cache_takes(clip: RepoSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=614_000))
    with pytest.raises(ResourceError) as caught:
        clip.fetch_tensors(PATH, TEXT)
    assert (caught.value.resource, caught.value.available) == ("disk", 614_000)
    assert caught.value.needed is not None
    assert len(CLIP) + (16 << 20) > caught.value.needed > 614_000, "the tensors alone, not the whole file"


# ---------------------------------------------------------------- going on


def test_connections_that_break_are_taken_up_where_they_were(hub: LocalHub, settle: Settle, small_parts: None) -> None:
    hub.add_model("org/clip", {PATH: CLIP})
    source = open_at("org/clip", None, settle(max_retries=2))
    hub.truncate(PATH, keep_bytes=100_000, times=4)
    assert read_back(source.fetch_tensors(PATH, TEXT)) == EXPECTED
    asked = [r.range for r in hub.requests if r.side == "lfs"]
    assert len(asked) == 12
    assert len(set(asked)) == 12


def test_what_arrived_before_a_failure_is_not_asked_for_again(
    hub: LocalHub, clip: RepoSource, settle: Settle, small_parts: None
) -> None:
    needed = sum(t.size_bytes for t in TEXT.values())
    seen: list[str | None] = []

    def fail_later(request: object) -> None:
        seen.append(getattr(request, "range", None))
        if len(seen) == 13:  # each range takes two requests
            hub.fail(PATH, status=503, times=None)

    hub.on_request(fail_later)
    with pytest.raises(HubUnavailable):
        clip.fetch_tensors(PATH, TEXT)
    assert sent_bytes(hub) > 0
    hub.behave()
    hub.forget_requests()
    again = open_at("org/clip", None, settle())
    plan = again.plan_fetch(PATH, TEXT)
    assert read_back(again.fetch_tensors(PATH, TEXT)) == EXPECTED
    assert (
        sent_bytes(hub) == plan.transfer_bytes < needed
    )  # how much came before depends on when the other threads noticed


_CHILD = """
import json, sys
from pathlib import Path
from amdet_hub.hub import HubSettings, open_at
from amdet_hub.hub import _byte_ranges as _spans
from amdet_hub.records import TensorInfo
_spans.PART_BYTES = 512 << 10
endpoint, cache, wanted = sys.argv[1:]
tensors = {name: TensorInfo(d, tuple(s), a, b) for name, (d, s, a, b) in json.load(open(wanted)).items()}
source = open_at("org/clip", None, HubSettings(endpoint=endpoint, cache_dir=Path(cache)))
print("begin", flush=True)
source.fetch_tensors("model.safetensors", tensors)
"""


def test_a_killed_download_goes_on(
    hub: LocalHub, clip: RepoSource, settle: Settle, tmp_path: Path, small_parts: None
) -> None:
    wanted = tmp_path / "wanted.json"
    wanted.write_text(json.dumps({name: [i.dtype, i.shape, i.start, i.stop] for name, i in TEXT.items()}))
    hub.slow(PATH, bytes_per_s=1 << 20)
    cache = settle().cache_dir
    command = [sys.executable, "-c", _CHILD, hub.endpoint, str(cache), str(wanted)]
    with subprocess.Popen(command, env=os.environ | hub.environment(), stdout=subprocess.PIPE) as child:
        deadline = time.monotonic() + 120
        while not any(p.read_text().count("[") >= 2 for p in own_cache(settle()).rglob("*.journal")):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    hub.behave()
    hub.forget_requests()
    assert read_back(clip.fetch_tensors(PATH, TEXT)) == EXPECTED
    needed = sum(t.size_bytes for t in TEXT.values())
    assert sent_bytes(hub) <= needed - 2 * (512 << 10)
    assert {p.suffix for p in own_cache(settle()).rglob("*") if p.is_file()} == {".safetensors", ".lock"}


def test_a_part_file_that_was_damaged_is_not_believed(
    hub: LocalHub, clip: RepoSource, settle: Settle, small_parts: None
) -> None:
    hub.truncate(PATH, keep_bytes=100_000, times=None)
    with pytest.raises(DownloadCorrupt):
        clip.fetch_tensors(PATH, TEXT)
    hub.behave()
    (part,) = own_cache(settle()).rglob("*.part")
    part.write_bytes(bytes(part.stat().st_size))
    with part.with_suffix(".journal").open("a") as journal:
        journal.write('[0, 5\nnonsense\n{}\n[1, 2, 3]\n["a", "b", "c"]\n')
    assert read_back(clip.fetch_tensors(PATH, TEXT)) == EXPECTED


def test_two_at_once_fetch_it_once(hub: LocalHub, clip: RepoSource, settle: Settle) -> None:
    places: list[Path] = []
    sources = [clip, open_at("org/clip", None, settle())]
    hub.forget_requests()
    threads = [threading.Thread(target=lambda s=s: places.append(s.fetch_tensors(PATH, TEXT))) for s in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 2
    assert len(set(places)) == 1
    assert sent_bytes(hub) == sum(t.size_bytes for t in TEXT.values())


# ---------------------------------------------------------------- servers that lie


@pytest.fixture(
    params=[
        "short",
        "longer",
        "endless",
        "other range",
        "other size",
        "no range",
        "other commit",
        "other file",
    ]
)
def lie(request: pytest.FixtureRequest, hub: LocalHub) -> Iterator[tuple[str, str]]:
    size = len(CLIP)

    def endless() -> None:
        hub.never_end(PATH, times=None)
        hub.slow(PATH, bytes_per_s=1 << 25)

    lies: dict[str, tuple[Callable[[], None], str]] = {
        "short": (lambda: hub.truncate(PATH, keep_bytes=1000, times=None, admit=True), "1,000 bytes"),
        "longer": (lambda: hub.never_end(PATH, times=None), "got more"),
        "endless": (endless, "got more"),
        "other range": (
            lambda: hub.relabel(PATH, {"Content-Range": f"bytes 0-9/{size}"}, times=None),
            f"got bytes 0-9/{size}",
        ),
        "other size": (lambda: hub.relabel(PATH, {"Content-Range": "bytes 0-9/10"}, times=None), "got bytes 0-9/10"),
        "no range": (lambda: hub.relabel(PATH, {"Content-Range": None}, times=None), "got HTTP 206"),
        "other commit": (lambda: hub.relabel("/resolve/", {"X-Repo-Commit": "f" * 40}, times=None), "got commit fff"),
        "other file": (
            lambda: hub.relabel("/resolve/", {"X-Linked-ETag": '"' + "e" * 64 + '"'}, times=None),
            "got etag eee",
        ),
    }
    make, words = lies[request.param]
    make()
    yield request.param, words
    hub.behave()


def test_a_server_that_lies_gets_a_sentence(clip: RepoSource, lie: tuple[str, str], settle: Settle) -> None:
    with pytest.raises(DownloadCorrupt) as caught:
        clip.fetch_tensors(PATH, TEXT)
    assert lie[1] in str(caught.value)
    assert not list(own_cache(settle()).rglob("*.safetensors"))


def test_a_server_that_lies_about_the_header_gets_a_sentence(clip: RepoSource, lie: tuple[str, str]) -> None:
    with pytest.raises(DownloadCorrupt) as caught:
        clip.read_range(PATH, 0, 128 << 10)
    assert lie[1] in str(caught.value)


def test_a_hub_that_asks_to_slow_down_is_obeyed(hub: LocalHub, clip: RepoSource) -> None:
    hub.rate_limit("/resolve/", retry_after_s=600)
    with pytest.raises(RateLimited) as caught:
        clip.fetch_tensors(PATH, TEXT)
    assert caught.value.retry_after_s == 600


# ---------------------------------------------------------------- arithmetic


def test_neighbours_are_merged_and_many_islands_too() -> None:
    gap = _spans.SMALL_GAP_BYTES
    assert _spans.merged([Piece(10, 20, 0), Piece(0, 10, 10), Piece(20 + gap, 30 + gap, 20)]) == [Span(0, 30 + gap)]
    assert _spans.merged([Piece(0, 10, 0), Piece(11 + gap, 12 + gap, 10), Piece(5, 5, 0)]) == [
        Span(0, 10),
        Span(11 + gap, 12 + gap),
    ]
    islands = [Piece(i * 10 * gap + i * i, i * 10 * gap + i * i + 5, 0) for i in range(1000)]
    spans = _spans.merged(islands)
    assert len(spans) == _spans.MAX_SPANS
    assert all(any(s.start <= p.start and p.stop <= s.stop for s in spans) for p in islands)


def test_parts_and_what_is_left_of_them_cover_everything_once() -> None:
    rng = random.Random(3)
    for _ in range(200):
        spans = _spans.merged(Piece(a, a + rng.randrange(1, 50), 0) for a in rng.sample(range(1000), 5))
        done = [Span(a, a + rng.randrange(1, 60)) for a in rng.sample(range(1000), rng.randrange(6))]
        parts = _spans.divided(_spans.without(spans, done), 16)
        covered = [i for p in parts for i in range(p.start, p.stop)]
        finished = {i for d in done for i in range(d.start, d.stop)}
        assert covered == sorted({i for s in spans for i in range(s.start, s.stop)} - finished)
        assert max((p.size_bytes for p in parts), default=0) <= 16


def test_the_digest_of_what_is_wanted_sees_everything() -> None:
    from amdet_hub.hub._partial_file import tensors_digest

    one = TensorInfo("F16", (2, 3), 100, 112)
    others = [
        TensorInfo("BF16", (2, 3), 100, 112),
        TensorInfo("F16", (3, 2), 100, 112),
        TensorInfo("F16", (2, 3), 102, 114),
    ]
    digests = {
        tensors_digest({"a": one}),
        tensors_digest({"b": one}),
        tensors_digest({}),
        *(tensors_digest({"a": o}) for o in others),
    }
    assert len(digests) == 6
    assert tensors_digest({"a": one, "b": others[2]}) == tensors_digest({"b": others[2], "a": one})
    assert hashlib.sha256(b"[]").hexdigest() == tensors_digest({})

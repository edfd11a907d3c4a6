"""A Hugging Face Hub on loopback, for tests: real sockets, the real client, and faults on request.

Knows: how to start, fill, observe, disturb and stop a local Hub. Refuses to know: torch, the rest of this package, any
network but loopback. Mocks of the client's HTTP library rot (it was requests, then httpx, then httpx2); a socket does
not. Works with any client of the Hub's API.

The Hub answers on `127.0.0.1`, its LFS files come from `localhost`: two hosts, as on the real Hub, so that a test can
see that the token never leaves the first. Commit ids and dates come from a logical clock, so they repeat from run to
run.

A fixture for your own tests:

    import pytest
    from amdet_hub.testing import LocalHub

    @pytest.fixture
    def hub():
        with LocalHub() as hub:
            hub.add_user("alice", token="hf_alice")
            hub.add_model("org/model", {"config.json": b"{}", "model.safetensors": b"..."})
            yield hub

    def test_nothing_is_written(hub, tmp_path):
        path = hf_hub_download("org/model", "config.json", endpoint=hub.endpoint, cache_dir=tmp_path)
        assert open(path, "rb").read() == b"{}"
        assert hub.writes == []

    def test_in_a_child_process(hub):
        subprocess.run(["hf", "download", "org/model"], env={**os.environ, **hub.environment("alice")}, check=True)

huggingface_hub reads its environment once, when it is imported: pass `endpoint=` in this process, or use
`environment()` for a child. Models, and the files of datasets and Spaces (`routing`); no Xet (set
`HF_HUB_DISABLE_XET=1`), no git over HTTP.
"""

from amdet_hub.testing.local_hub.discussions import LocalPullRequest
from amdet_hub.testing.local_hub.hub import LocalHub
from amdet_hub.testing.local_hub.messages import LoggedRequest
from amdet_hub.testing.local_hub.storage import MergeConflict, SparseFile
from amdet_hub.testing.local_hub.world import LocalJob

__all__ = ["LocalHub", "LocalJob", "LocalPullRequest", "LoggedRequest", "MergeConflict", "SparseFile"]

"""`watch` and `webhook` as a person runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from amdet_hub.testing import LocalHub
from tests.cli.conftest import Run, error_codes
from tests.demo_hub import BASE, FAST_TOML, TOKEN, demo_hub, files_of


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with demo_hub() as hub:
        hub.add_model("org/copy", files_of("base"))
        yield hub


@pytest.fixture
def ask(cli: Run, hub: LocalHub, tmp_path: Path) -> Run:
    def run(*args: object, **extra: object) -> Result:
        return cli(*args, "--endpoint", hub.endpoint, "--cache-dir", tmp_path / "cache", **extra)

    return run


def test_watch_prints_one_line_for_each_and_exits_with_the_worst(ask: Run, hub: LocalHub) -> None:
    Path("fast.toml").write_text(FAST_TOML)
    first = ask(
        "watch",
        "demo/...",
        "org/copy",
        "--once",
        "--json",
        "--reference",
        BASE,
        "--config",
        "fast.toml",
        "--max-scans",
        "9",
    )
    assert first.exit_code == 1, first.stderr
    events = [json.loads(line) for line in first.stdout.splitlines()]
    assert {e["repo_id"]: e["verdict"] for e in events} == {
        "demo/backdoored": "backdoor-detected",
        "demo/base": "no-backdoor-found",
        "demo/finetuned": "no-backdoor-found",
        "org/copy": "no-backdoor-found",
    }
    assert {e["what"] for e in events if e["repo_id"] == "org/copy"} == {"cached"}, "the same tower as demo/base"
    assert {e["code"] for e in events} == {"trigger-confirmed", "identical-to-reference", "no-trigger-found"}
    assert all((Path("amdet-hub-watch") / e["report"]).is_file() for e in events)
    again = ask("watch", "demo/...", "--once", "--config", "fast.toml", "--reference", BASE)
    assert (again.exit_code, again.stdout.strip()) == (1, ""), "what is there is still backdoored"
    standing = [line.split()[-2:] for line in again.stderr.splitlines() if "  unchanged  " in line]
    assert sorted(standing) == [
        ["backdoor-detected", "[trigger-confirmed]"],
        ["no-backdoor-found", "[identical-to-reference]"],
        ["no-backdoor-found", "[no-trigger-found]"],
    ]
    assert ask("watch", "org/...", "--once", "--config", "fast.toml", "--reference", BASE).exit_code == 0


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("watch", "./folder", "--once"), "target-error"),
        (("watch", "nosuch/...", "--once"), "repo-not-found"),
        (("watch", "org/none", "--once"), "repo-not-found"),
        (("watch",), "usage-error"),
        (("watch", "org/copy", "--max-scans", "0"), "usage-error"),
        (("watch", "org/copy", "--interval", "often"), "usage-error"),
        (("webhook", "create", "org/copy"), "config-error"),
        (("webhook", "create", "org/copy", "--url", "https://a", "--job", "b"), "config-error"),
        (("webhook", "create", "org/copy", "--url", "http://example.org/hook"), "config-error"),
        (("webhook", "create", "org/copy", "--job", "j", "--job-secret", "NOT_THERE_AT_ALL"), "config-error"),
        (("webhook", "create", "org/copy", "--url", "https://example.org/h", "--yes"), "access-denied"),
    ],
)
def test_errors_exit_2(ask: Run, args: tuple[str, ...], code: str) -> None:
    result = ask(*args)
    assert (result.exit_code, error_codes(result)) == (2, [code])
    assert not Path("amdet-hub-watch/state.json").exists()


def test_a_webhook_is_shown_first_and_created_on_yes_and_only_once(ask: Run, hub: LocalHub) -> None:
    args = ("webhook", "create", "demo/...", "org/copy", "--url", "https://example.org/scan", "--token", TOKEN)
    secret = {"AMDET_HUB_WEBHOOK_SECRET": "a-secret-of-ours"}
    shown = ask(*args, env=secret)
    assert shown.exit_code == 0, shown.stderr
    assert "Nothing was created" in shown.stdout
    assert hub.webhooks("alice") == []
    made = ask(*args, "--yes", env=secret)
    assert made.exit_code == 0, made.stderr
    assert "a-secret-of-ours" not in made.output
    (hook,) = hub.webhooks("alice")
    assert hook["watched"] == [{"type": "org", "name": "demo"}, {"type": "model", "name": "org/copy"}]
    assert (hook["url"], hook["domains"], hook["secret"]) == ("https://example.org/scan", ["repo"], "a-secret-of-ours")
    assert "There is already" in ask(*args, "--yes", env=secret).stdout
    assert len(hub.webhooks("alice")) == 1


def test_a_made_secret_is_shown_once(ask: Run, hub: LocalHub) -> None:
    result = ask("webhook", "create", "org/copy", "--url", "https://example.org/scan", "--token", TOKEN, "--yes")
    assert result.exit_code == 0, result.stderr
    (hook,) = hub.webhooks("alice")
    assert len(hook["secret"]) >= 40
    assert result.stdout.count(hook["secret"]) == 1
    assert hook["secret"] not in result.stderr


def test_a_webhook_can_start_a_job_with_secrets_of_the_environment(ask: Run, hub: LocalHub) -> None:
    args = (
        "webhook",
        "create",
        "alice/...",
        "--user",
        "--job",
        "66f1c0ffee",
        "--job-secret",
        "SCAN_TOKEN",
        "--token",
        TOKEN,
        "--yes",
    )
    result = ask(*args, env={"SCAN_TOKEN": "hf_" + "s" * 30})
    assert result.exit_code == 0, result.stderr
    (hook,) = hub.webhooks("alice")
    assert hook["watched"] == [{"type": "user", "name": "alice"}]
    assert hook["job"]["sourceJobId"] == "66f1c0ffee"
    assert hook["job"]["secrets"] == ["SCAN_TOKEN"]
    assert "s" * 30 not in result.output

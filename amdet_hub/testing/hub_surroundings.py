"""What surrounds the repositories of a local Hub: collections, discussions, webhooks, the Hub's own file scan, jobs.

The part of `LocalHub` that fills them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amdet_hub.testing.hub_jobs import JobRunner, LocalJob
from amdet_hub.testing.hub_world import World


class SurroundingControls:
    """What a test can put beside the repositories."""

    _world: World

    def add_collection(self, slug: str, items: Iterable[str]) -> None:
        """Create a collection, `org/title-0123456789abcdef01234567`.

        An item is a model's id, or `"dataset:org/name"` and the like.
        """
        rows = [item.partition(":") for item in items]
        self._world.collections[slug] = [(kind, name) if colon else ("model", kind) for kind, colon, name in rows]

    def run_jobs(self, runner: JobRunner) -> None:
        """Take jobs, and let `runner` run them; without one a job is refused for want of credit."""
        self._world.job_runner = runner

    @property
    def jobs(self) -> list[LocalJob]:
        """Every job that was started, oldest first."""
        return list(self._world.jobs.values())

    def report_issues(self, repo_id: str, issues: Mapping[str, str]) -> None:
        """What the Hub's own file scanners say of a repository: level (`"unsafe"`, `"suspicious"`) by path."""
        self._world.repository(repo_id).issues = dict(issues)

    def discussions(self, repo_id: str) -> list[tuple[int, str, str, str]]:
        """Every discussion that is no pull request: (number, title, author, first comment), oldest first."""
        with self._world.lock:
            found = [d for d in self._world.discussions[repo_id] if not d.is_pull_request]
            return [(d.number, d.title, d.author, str(d.events[0]["data"]["latest"]["raw"])) for d in found]

    def webhooks(self, user: str) -> list[dict[str, Any]]:
        """The webhooks that a user made, as the Hub describes them."""
        with self._world.lock:
            return [dict(hook) for hook in self._world.webhooks.get(user, [])]

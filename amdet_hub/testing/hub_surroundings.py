"""What surrounds the repositories of a local Hub: collections, the Hub's own file scan, jobs. The part of `LocalHub` that fills them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from amdet_hub.testing.hub_jobs import JobRunner, LocalJob
from amdet_hub.testing.hub_world import World


class SurroundingControls:
    """What a test can put beside the repositories."""

    _world: World

    def add_collection(self, slug: str, items: Iterable[str]) -> None:
        """Create a collection, `org/title-0123456789abcdef01234567`. An item is a model's id, or `"dataset:org/name"` and the like."""
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

"""`amdet-hub scan` of many models: one line a model, a summary, and a state file to go on from.

Knows: the order of models, which are finished, when to wait. Refuses to know: how one is scanned (`Request.scan`).
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from amdet_hub.cli._delivery import deliver, report_interruption
from amdet_hub.cli._exit_codes import EXIT_INTERRUPTED, report_error, verdict_exit_code, worst
from amdet_hub.cli._output import emit, escape, say
from amdet_hub.cli._progress import Progress
from amdet_hub.cli._request import Request
from amdet_hub.cli._scan_state import Key, Ledger
from amdet_hub.cli._targets import retry_rate_limited
from amdet_hub.errors import AmdetError, Interrupted
from amdet_hub.records import RepoRef, ScanReport, fingerprint
from amdet_hub.report.quantities import format_duration


@dataclass
class BatchSummary:
    """The models so far.

    Attributes:
        models: name, verdict or "error", and exit code of each.
        remembered: how many of them an earlier run finished.
    """

    started: float = field(default_factory=time.monotonic)
    models: list[tuple[str, str, int]] = field(default_factory=list)
    remembered: int = 0

    def as_text(self, n_models: int) -> str:
        """The table below the lines of `n_models` models."""
        before = f", {self.remembered:,} of them before" if self.remembered else ""
        took = format_duration(time.monotonic() - self.started)
        counts = Counter(verdict for _, verdict, _ in self.models)
        lines = ["", f"{len(self.models):,} of {n_models:,} models in {took}{before}"]
        lines += [f"  {count:>6,}  {verdict.replace('-', ' ')}" for verdict, count in sorted(counts.items())]
        lines += [f"  detected: {escape(name)}" for name, verdict, _ in self.models if verdict == "backdoor-detected"]
        return "\n".join(lines)


class Batch:
    """One run over many models.

    Args:
        request: with a list of models.
        progress: of each scan.

    Raises:
        OutputError: the state file cannot be used.
    """

    def __init__(self, request: Request, progress: Progress) -> None:
        self._request, self._progress = request, progress
        self._ledger = Ledger(request.state) if request.state is not None else None
        self._summary = BatchSummary()

    def run(self) -> int:
        """Scan every model that is not finished, the next one's files arriving meanwhile.

        Returns the worst exit code.
        """
        from amdet_hub.scanner.prefetch import Prefetcher

        with Prefetcher(self._request.scanner) as prefetcher:
            try:
                waiting = self._unfinished()
                following = next(waiting, None)
                while following is not None:
                    (ref, key), following = following, next(waiting, None)
                    if following is not None and self._request.main and self._request.job is None:
                        prefetcher.start(following[0])
                    self._scan(ref, key)
            except Interrupted:
                return self._interrupted()
            except KeyboardInterrupt:  # between two scans, or while the result of one was remembered
                if self._request.main:
                    say("Interrupted.")
                return self._interrupted()
        self._summarise()
        return worst([code for _, _, code in self._summary.models])

    def _unfinished(self) -> Iterator[tuple[RepoRef, Key | None]]:
        """The models to scan, with the keys to remember them by; finished ones are counted on the way."""
        for ref in self._request.refs:
            key = self._key(ref)
            verdict = self._ledger.verdict(key) if self._ledger and key else None
            if verdict is None:
                yield ref, key
                continue
            self._summary.models.append((ref.raw, verdict, verdict_exit_code(verdict, self._request.fail_on)))
            self._summary.remembered += 1
            if self._request.main and not self._request.quiet:
                say(f"{escape(ref.raw)}: finished before, {verdict.replace('-', ' ')}.")

    def _key(self, ref: RepoRef) -> Key | None:
        """The key of this scan in the state file.

        None without such a file, for a local folder, which has no commit, and for a repository that cannot be read:
        its scan says why.
        """
        from amdet_hub.hub.listing import commit_of
        from amdet_hub.scanner import judged_by

        if ref.kind != "hub" or self._ledger is None:
            return None
        scanner = self._request.scanner
        try:
            commit = retry_rate_limited(lambda: commit_of(ref.repo_id, ref.revision, scanner.hub))
        except AmdetError:
            return None
        decides = {
            "config": scanner.config.fingerprint(),
            "reference": scanner.reference.raw if scanner.reference is not None else None,
            "use_reference": scanner.options.use_reference,
            "dtype": scanner.options.dtype,
            "judged_by": judged_by(),
        }
        return Key(ref.repo_id, commit, ref.filename or ref.subfolder, fingerprint(decides))

    def _scan(self, ref: RepoRef, key: Key | None) -> None:
        request, models = self._request, self._summary.models
        try:
            report = retry_rate_limited(lambda: request.scan(ref, self._progress))
            models.append((ref.raw, report.verdict.label, deliver(request, ref, report)))
            if request.main and self._ledger and key and _is_finished(report, key):
                self._ledger.finish(key, report.verdict.label)
        except Interrupted as stop:
            report_interruption(request, ref, stop)
            raise
        except AmdetError as error:
            models.append((ref.raw, "error", report_error(error, about=ref.raw)))
            if request.main and request.format in ("text", "table"):
                emit(f"{'error':<19}{error.code:<51}{escape(ref.raw)}")  # the columns of `as_table_row`

    def _interrupted(self) -> int:
        self._progress.close()
        self._summarise()
        if self._request.main:
            again = "Run the same command again to go on."
            say(again if self._ledger else "With --state FILE such a run can be taken up again.")
        return EXIT_INTERRUPTED

    def _summarise(self) -> None:
        """The summary: on stdout below the lines, on stderr where stdout is for a machine."""
        text = self._summary.as_text(len(self._request.refs))
        if self._request.main and self._request.format in ("text", "table"):
            emit(text)
        elif self._request.main and not self._request.quiet:
            say(text)


def _is_finished(report: ScanReport, key: Key) -> bool:
    """Whether another run would find the same: nothing was cut short or unreadable, and the branch did not move."""
    unreadable = any(skip.reason == "unreadable" for skip in report.skipped)
    return report.complete and not unreadable and report.snapshot.commit_sha == key.commit_sha

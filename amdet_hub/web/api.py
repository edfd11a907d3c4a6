"""Named endpoints, for `gradio_client` and as MCP tools: `/resolve`, `/scan`, `/report`. Plain text in and out.

Every answer is text, JSON where it is data: Gradio's client takes an object with a `path` in it for a file of the
server, and a report lists the files of a repository; its MCP server would show an object as Python writes it. The
docstrings of the endpoints are what an agent reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from amdet_hub.records import to_dict
from amdet_hub.report import as_json
from amdet_hub.web.downloads import formats, render
from amdet_hub.web.error_messages import error_message
from amdet_hub.web.service import Lookup, ScanService
from amdet_hub.web.visitor import owner_of

_POLL_S = 0.5


def add_endpoints(service: ScanService) -> None:
    """Add the endpoints to the Blocks that is being built."""
    endpoints = _Endpoints(service)
    gr.api(endpoints.resolve, api_name="resolve")
    gr.api(endpoints.scan, api_name="scan", concurrency_limit=None)
    gr.api(endpoints.report, api_name="report")


class _Endpoints:
    def __init__(self, service: ScanService) -> None:
        self._service = service

    def resolve(self, model: str, preset: str = "quick") -> str:
        """Tell what a backdoor scan of a Hub model would look at, as JSON text, without downloading weights.

        The text encoders and the clean encoder each is compared with, the bytes to download, the expected seconds, and
        the verdict of an earlier scan of the same weights if there is one.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard".
        """
        return json.dumps(plan_data(self._found(model, preset)))

    def scan(self, model: str, preset: str = "quick", request: gr.Request | None = None) -> Iterator[str]:
        """Scan the text encoders of a public CLIP-family model on the Hub for backdoors and return the whole report as JSON text.

        The verdict is "backdoor-detected", "no-backdoor-found" or "inconclusive", with its evidence, and the trigger
        where one was found. Finding nothing is no proof. Weights that were scanned before are answered at once; others
        take the time that `resolve` expects, and the state of the scan is streamed meanwhile, as JSON text too.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard", which takes longer.
            request: who asks; filled in by Gradio.
        """
        found = self._found(model, preset)
        if found.earlier is not None:
            yield as_json(found.earlier)
            return
        try:
            job = self._service.start(found, owner_of(request))
        except Exception as error:
            raise gr.Error(error_message(error)) from error
        try:
            while not self._service.jobs.wait(job, _POLL_S):
                place = self._service.jobs.place(job)
                yield json.dumps(
                    {"state": job.state, "place": place, "stage": job.stage, "done": job.done, "total": job.total}
                )
        finally:
            if not job.finished:
                self._service.jobs.cancel(job)
        if job.report is None:
            raise gr.Error(error_message(job.error or TimeoutError()))
        yield as_json(job.report)

    def report(self, model: str, preset: str = "quick", form: str = "markdown") -> str:
        """Return the stored result of an earlier backdoor scan of the same weights, or an error when there is none; nothing is scanned for it.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard".
            form: "markdown", "json", "html" or "sarif".
        """
        if form not in formats():
            raise gr.Error(f"The form must be one of {', '.join(formats())}.")
        found = self._found(model, preset)
        if found.earlier is None:
            raise gr.Error("These weights were not scanned with this preset yet. Ask /scan for it.")
        return render(found.earlier, form)

    def _found(self, model: str, preset: str) -> Lookup:
        try:
            return self._service.look_up(model, preset)
        except Exception as error:
            raise gr.Error(error_message(error)) from error


def plan_data(found: Lookup) -> dict[str, Any]:
    """What was looked up, as data."""
    snapshot = found.plan.snapshot
    return {
        "repo_id": snapshot.repo_id,
        "commit_sha": snapshot.commit_sha,
        "license": snapshot.license,
        "gated": snapshot.gated,
        "private": snapshot.private,
        "download_bytes": found.download_bytes,
        "estimate_s": round(found.estimate_s, 1),
        "encoders": [
            {
                "component": one.encoder.label,
                "architecture": one.encoder.architecture,
                "reference": to_dict(one.reference),
            }
            for one in found.plan.encoders
        ],
        "skipped": to_dict(found.plan.skipped),
        "earlier_verdict": found.earlier.verdict.label if found.earlier else None,
        "permalink": found.permalink,
    }

"""Named endpoints, for `gradio_client` and as MCP tools: `/resolve`, `/scan`, `/report`. Typed, plain data in and out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from amdet_hub.records import to_dict
from amdet_hub.report import as_json
from space.service import Found, Service
from space.takeaway import formats, render
from space.visitors import owner_of
from space.words import sentence

_POLL_S = 0.5


def add_endpoints(service: Service) -> None:
    """Add the endpoints to the Blocks that is being built."""
    endpoints = _Endpoints(service)
    gr.api(endpoints.resolve, api_name="resolve")
    gr.api(endpoints.scan, api_name="scan", concurrency_limit=None)
    gr.api(endpoints.report, api_name="report")


class _Endpoints:
    def __init__(self, service: Service) -> None:
        self._service = service

    def resolve(self, model: str, preset: str = "quick") -> dict[str, Any]:
        """Tell what a scan of a Hub model would look at, without downloading weights.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard".
        """
        return plan_data(self._found(model, preset))

    def scan(self, model: str, preset: str = "quick", request: gr.Request | None = None) -> Iterator[str]:
        """Scan the text encoders of a public CLIP-family model on the Hub for backdoors and return the whole report as JSON text.

        While it waits and works it streams its state, as JSON text too. Text, because Gradio's client takes every object with a `path` in it for a
        file of the server, and a report lists the files of a repository.

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
            raise gr.Error(sentence(error)) from error
        try:
            while not self._service.jobs.wait(job, _POLL_S):
                place = self._service.jobs.place(job)
                yield json.dumps({"state": job.state, "place": place, "stage": job.stage, "done": job.done, "total": job.total})
        finally:
            if not job.finished:
                self._service.jobs.cancel(job)
        if job.report is None:
            raise gr.Error(sentence(job.error or TimeoutError()))
        yield as_json(job.report)

    def report(self, model: str, preset: str = "quick", form: str = "markdown") -> str:
        """Return the stored result of an earlier scan of the same weights, or an error when there is none.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard".
            form: "markdown" or "json".
        """
        if form not in formats():
            raise gr.Error(f"The form must be one of {', '.join(formats())}.")
        found = self._found(model, preset)
        if found.earlier is None:
            raise gr.Error("These weights were not scanned with this preset yet. Ask /scan for it.")
        return render(found.earlier, form)

    def _found(self, model: str, preset: str) -> Found:
        try:
            return self._service.look_up(model, preset)
        except Exception as error:
            raise gr.Error(sentence(error)) from error


def plan_data(found: Found) -> dict[str, Any]:
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
            {"component": one.encoder.label, "architecture": one.encoder.architecture, "reference": to_dict(one.reference)}
            for one in found.plan.encoders
        ],
        "skipped": to_dict(found.plan.skipped),
        "earlier_verdict": found.earlier.verdict.label if found.earlier else None,
        "permalink": found.permalink,
    }

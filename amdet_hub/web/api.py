"""Named endpoints, for `gradio_client` and as MCP tools: `/resolve`, `/scan`, `/report`. Plain text in and out.

Every answer is text, JSON where it is data: Gradio's client takes an object with a `path` in it for a file of the
server, and a report lists the files of a repository; its MCP server would show an object as Python writes it. The
docstrings of the endpoints are read by agents.
"""

import json
from collections.abc import Iterator
from typing import Any

import gradio as gr

from amdet_hub.records import to_dict
from amdet_hub.report import RENDERERS, as_json
from amdet_hub.web.downloads import SUFFIXES
from amdet_hub.web.error_messages import error_message
from amdet_hub.web.service import Lookup, ScanService
from amdet_hub.web.visitor import owner_of


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

        The text encoders and the reference each is compared with, the bytes to download, the expected seconds, and the
        verdict and its reason code where no scan is needed: an earlier scan of the same weights, or nothing to scan.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard".
        """
        return json.dumps(_lookup_data(self._look_up(model, preset)))

    def scan(self, model: str, preset: str = "quick", request: gr.Request | None = None) -> Iterator[str]:
        """Scan the text encoders of a public CLIP-family model on the Hub for backdoors; return the report as JSON.

        The verdict is "backdoor-detected", "no-backdoor-found", "inconclusive" or "nothing-to-scan", with its reason
        code, its evidence, and the trigger where one was found. Finding nothing is no proof. Weights that were scanned
        before are answered at once; others take the time that `resolve` expects, and the state of the scan is streamed
        meanwhile, as JSON text too.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard", which takes longer.
            request: who asks; filled in by Gradio.
        """
        lookup = self._look_up(model, preset)
        if (report := lookup.earlier) is None:
            try:
                job = self._service.start(lookup, owner_of(request))
            except Exception as error:
                raise gr.Error(error_message(error)) from error
            for place in self._service.jobs.follow(job):
                yield json.dumps(
                    {"state": job.state, "place": place, "stage": job.stage, "done": job.done, "total": job.total}
                )
            if job.error is not None:
                raise gr.Error(error_message(job.error))
            report = job.future.result()
        yield as_json(report)

    def report(self, model: str, preset: str = "quick", form: str = "markdown") -> str:
        """Return the result of an earlier backdoor scan of the same weights, or an error when there is none.

        Nothing is scanned for it.

        Args:
            model: a model id such as "org/model", "org/model@revision", or the address of its page on the Hub.
            preset: "quick" or "standard".
            form: "markdown", "json", "html" or "sarif".
        """
        if form not in SUFFIXES:
            raise gr.Error(f"The form must be one of {', '.join(SUFFIXES)}. [config-error]")
        lookup = self._look_up(model, preset)
        if lookup.earlier is None:
            raise gr.Error("These weights were not scanned with this preset yet. Ask /scan for it. [not-scanned]")
        return RENDERERS[form](lookup.earlier)

    def _look_up(self, model: str, preset: str) -> Lookup:
        try:
            return self._service.look_up(model, preset)
        except Exception as error:
            raise gr.Error(error_message(error)) from error


def _lookup_data(lookup: Lookup) -> dict[str, Any]:
    snapshot = lookup.snapshot
    verdict = lookup.earlier.verdict if lookup.earlier is not None else None
    return {
        "repo_id": snapshot.repo_id,
        "commit_sha": snapshot.commit_sha,
        "license": snapshot.license,
        "gated": snapshot.gated,
        "private": snapshot.private,
        "download_bytes": lookup.download_bytes,
        "estimate_s": round(lookup.estimate_s, 1),
        "encoders": [
            {
                "component": pair.suspect.label,
                "architecture": pair.suspect.architecture,
                "reference": to_dict(pair.reference.record),
            }
            for pair in lookup.target.pairs
        ],
        "skipped": to_dict(lookup.target.skipped),
        "verdict": verdict and verdict.label,
        "code": verdict and verdict.code,
        "permalink": f"?model={snapshot.repo_id}" + (f"@{snapshot.commit_sha}" if snapshot.commit_sha else ""),
    }

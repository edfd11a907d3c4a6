"""`amdet-hub resolve`: what a scan would do, without fetching weights or importing torch.

Knows: how a plan is said.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_OK, worst
from amdet_hub.cli._output import emit, escape, format_bytes, format_duration
from amdet_hub.cli.scan import Request, set_up_logging, understand
from amdet_hub.errors import AmdetError
from amdet_hub.records import to_dict
from amdet_hub.report.escape import unactionable

if TYPE_CHECKING:
    from amdet_hub.scanner import PlannedEncoder, TargetPlan
    from amdet_hub.scanner.transfer import Travel

PLAN_SCHEMA_VERSION = "1.0"
"""Version of the `--json` form of a plan."""

EPILOG = """
Examples:
  {prog} resolve org/model
  {prog} resolve org/model@v1.0 --json

Exit codes: 0 there is something to scan, 3 nothing supported to scan, 2 usage or error.
"""


@click.command(cls=opt.HelpLayout, epilog=EPILOG, short_help="Show what would be scanned, without fetching weights.")
@click.argument("target", metavar="TARGET")
@opt.target_options
@opt.scan_options
@opt.download_limit_option
@opt.json_option
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def resolve(ctx: click.Context, /, target: str, **flags: Any) -> int:
    """Show what `scan TARGET` would scan: commit, text encoders, sizes, the reference and the expected time.

    Fetches no weights.
    """
    set_up_logging(flags["verbose"])
    request = understand(ctx, [target], {**flags, "output": (), "format": "text", "fail_on": "inconclusive"})
    return show_plans(request, as_json=flags["as_json"])


def show_plans(request: Request, *, as_json: bool) -> int:
    """Print the plan of every target, and of many what all of them would download.

    Returns 0; of many, the worst exit code.

    Raises:
        AmdetError: one of a few targets cannot be planned (of many, that is said and the others follow).
    """
    from amdet_hub.cli._errors import report_error
    from amdet_hub.scanner import plan_target

    codes, plans = [EXIT_OK], []
    for ref in request.refs:
        try:
            plan = plan_target(
                ref,
                config=request.config,
                settings=request.settings,
                reference=request.reference,
                options=request.options,
            )
        except AmdetError as error:
            if not request.many:
                raise
            codes.append(report_error(error, about=ref.raw))
            continue
        plans.append(plan)
        emit(
            plan_as_json(ref.raw, plan, indent=2 if len(request.refs) == 1 else None)
            if as_json
            else plan_as_text(ref.raw, plan)
        )
    if request.many and not as_json:
        emit(
            f"\n{len(plans)} of {len(request.refs)} models can be scanned, {_exactly(_all_bytes(plans))}, the"
            " references once."
        )
    return worst(codes)


def _all_bytes(plans: Sequence[TargetPlan]) -> int:
    from amdet_hub.scanner.transfer import total_bytes

    return total_bytes(travel for plan in plans for planned in plan.encoders for travel in _travels(planned))


def _travels(planned: PlannedEncoder) -> tuple[Travel | None, ...]:
    return planned.travel, planned.base_travel, planned.reference_travel


def plan_as_json(target: str, plan: TargetPlan, *, indent: int | None) -> str:
    """The plan as JSON: the snapshot's facts without its listing, each encoder with reference and estimate, and what is skipped."""
    snapshot = to_dict(plan.snapshot)
    del snapshot["files"]
    data = {
        "schema_version": PLAN_SCHEMA_VERSION,
        "target": target,
        "snapshot": snapshot,
        "encoders": [
            {
                "encoder": to_dict(p.encoder),
                "dims": p.encoder.config.dims,
                "reference": to_dict(p.reference),
                "estimate_s": p.estimate_s,
                "download": to_dict(p.travel.plans),
                "base_download": to_dict(p.base_travel.plans) if p.base_travel else [],
                "reference_download": to_dict(p.reference_travel.plans) if p.reference_travel else [],
            }
            for p in plan.encoders
        ],
        "skipped": to_dict(plan.skipped),
        "download_bytes": plan.download_bytes,
        "reference_download_bytes": plan.reference_download_bytes,
        "estimate_s": sum(p.estimate_s for p in plan.encoders),
    }
    return json.dumps(data, indent=indent, ensure_ascii=True, allow_nan=False)


def plan_as_text(target: str, plan: TargetPlan) -> str:
    """The plan for people."""
    snapshot = plan.snapshot
    at = f" @ {snapshot.commit_sha[:12]}" if snapshot.commit_sha else ""
    lines = [f"{escape(snapshot.repo_id)}{at}"]
    if facts := _facts(plan):
        lines.append(f"  {facts}")
    for planned in plan.encoders:
        lines += ["", *_encoder_lines(planned)]
    if plan.skipped:
        lines += ["", "Not scanned"]
        lines += [f"  {escape(s.component or s.repo_id)}: {escape(s.detail)}" for s in plan.skipped]
    count = len(plan.encoders)
    total = sum(p.estimate_s for p in plan.encoders)
    travels = _exactly(plan.download_bytes + plan.reference_download_bytes)
    lines += [
        "",
        (
            f"In all: {count} text encoder{'s' if count != 1 else ''}, {travels}, about {format_duration(total)} on"
            " this machine."
        ),
    ]
    lines.append(f"Scan: amdet-hub scan {escape(shlex.quote(_again(target, plan)))}")
    return "\n".join(unactionable(line) for line in lines)


def _encoder_lines(planned: PlannedEncoder) -> list[str]:
    encoder, reference = planned.encoder, planned.reference
    files = ", ".join(f"{escape(f.path)} ({format_bytes(f.size_bytes)})" for f in encoder.weight_files)
    revision = f" @ {escape(reference.commit_sha)[:12]}" if reference.commit_sha else ""
    name = f"{escape(reference.repo_id)}{revision} ({reference.trust})" if reference.repo_id else "none"
    return [
        escape(encoder.label),
        f"  architecture  {escape(encoder.architecture)}, family {encoder.config.family}",
        f"  dimensions    {encoder.config.dims}",
        f"  weights       {files}",
        (
            f"  tower         {format_bytes(encoder.tower_bytes)},"
            f" {', '.join(map(escape, encoder.dtypes)) or 'dtype unknown'}"
        ),
        f"  download      {_travel_text(planned.travel)}",
        *(
            [f"                the base it is merged onto: {_travel_text(planned.base_travel)}"]
            if planned.base_travel
            else []
        ),
        f"  reference     {name}: {escape(reference.note)}",
        *([f"                {_travel_text(planned.reference_travel)}"] if planned.reference_travel else []),
        f"  time          about {format_duration(planned.estimate_s)} on this machine",
    ]


def _facts(plan: TargetPlan) -> str:
    snapshot = plan.snapshot
    facts = [f"license {escape(snapshot.license)}"] if snapshot.license else []
    facts += [word for word, true in (("gated", snapshot.gated), ("private", snapshot.private)) if true]
    if snapshot.base_models:
        facts.append(f"says it is based on {', '.join(map(escape, snapshot.base_models))}")
    return ", ".join(facts)


def _travel_text(travel: Travel) -> str:
    """What of an encoder's weights would travel, and of how much."""
    if travel.commit_sha is None:
        return "nothing: on this machine"
    if not travel.transfer_bytes:
        return "nothing: in the cache"
    requests = sum(plan.n_requests for plan in travel.plans)
    if all(plan.whole for plan in travel.plans):
        return _exactly(travel.transfer_bytes)
    files = sum(file.size_bytes for file in travel.encoder.weight_files)
    return (
        f"{_exactly(travel.transfer_bytes)}, of {format_bytes(files)}, in {requests}"
        f" request{'s' if requests != 1 else ''}"
    )


def _exactly(count: int) -> str:
    return (
        f"{count:,} bytes to download" + (f" ({format_bytes(count)})" if count >= 1000 else "")
        if count
        else "nothing to download"
    )


def _again(target: str, plan: TargetPlan) -> str:
    """The target pinned to the commit that was shown, where its plain form allows that."""
    sha = plan.snapshot.commit_sha
    return f"{plan.snapshot.repo_id}@{sha}" if sha and target == plan.snapshot.repo_id else target

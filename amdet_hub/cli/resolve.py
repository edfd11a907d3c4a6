"""`amdet-hub resolve`: the plan of a scan, without fetching weights or importing torch.

Knows: how a plan is said.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_OK, report_error, verdict_exit_code, worst
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit, escape
from amdet_hub.cli._request import Request, parse_request
from amdet_hub.cli._targets import address
from amdet_hub.config import ScanConfig
from amdet_hub.errors import AmdetError
from amdet_hub.records import RepoSnapshot, Verdict, to_dict
from amdet_hub.report.escape import unactionable
from amdet_hub.report.quantities import format_bytes, format_duration
from amdet_hub.verdict import judge_repository

if TYPE_CHECKING:
    from amdet_hub.scanner import PlannedEncoder, ResolvedTarget, TargetPlan
    from amdet_hub.scanner.transfer import TransferPlan

# Version of the JSON form of a plan. 1.1 added `verdict`, null where there is something to scan; 1.2 `loaded_by`.
PLAN_SCHEMA_VERSION = "1.2"

EPILOG = """
Examples:
  {prog} resolve org/model
  {prog} resolve org/model@v1.0 -f json

Exit codes: 0 there is something to scan, or nothing of this kind; 3 it cannot be scanned; 2 usage or error.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Show what would be scanned, without fetching weights.")
@click.argument("target", metavar="TARGET")
@opt.target_options
@opt.scan_options
@opt.download_limit_option
@opt.data_format_options
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def resolve(ctx: click.Context, /, target: str, as_json: bool, **flags: Any) -> int:
    """Show what `scan TARGET` would scan: commit, text encoders, sizes, the reference and the expected time.

    Fetches no weights.
    """
    return show_plans(parse_request(ctx, [target], flags), as_json=as_json)


def show_plans(request: Request, *, as_json: bool) -> int:
    """Print the plan of every target, and of many what all of them would download. Returns the worst exit code.

    Raises:
        AmdetError: one of a few targets cannot be planned (of many, that is said and the others follow).
    """
    from amdet_hub.scanner import plan_target
    from amdet_hub.scanner.transfer import total_bytes

    codes, transfers, n_scannable = [EXIT_OK], [], 0
    for ref in request.refs:
        try:
            target = request.scanner.resolve(ref)
            plan = plan_target(target, request.scanner.config)
        except AmdetError as error:
            if not request.several:
                raise
            codes.append(report_error(error, about=ref.raw))
            continue
        verdict = judge_repository(target.skipped) if not target.pairs else None
        n_scannable += bool(target.pairs)
        transfers += [t for p in plan.encoders for t in (p.transfer, p.base_transfer, p.reference_transfer)]
        codes.append(verdict_exit_code(verdict.label, request.fail_on) if verdict is not None else EXIT_OK)
        if as_json:
            emit(plan_as_json(ref.raw, plan, verdict, indent=None if request.several else 2))
        else:
            emit(plan_as_text(plan, verdict, _command(request, target)))
    if request.listed and not as_json:
        total = _exactly(total_bytes(transfers))
        emit(f"\n{n_scannable} of {len(request.refs)} models can be scanned, {total}, the references once.")
    return worst(codes)


def plan_as_json(target: str, plan: TargetPlan, verdict: Verdict | None, *, indent: int | None) -> str:
    """The plan as JSON: the snapshot without its listing, each encoder with reference and estimate, and the rest."""
    data = {
        "schema_version": PLAN_SCHEMA_VERSION,
        "target": target,
        "snapshot": {name: value for name, value in to_dict(plan.snapshot).items() if name != "files"},
        "encoders": [
            {
                "encoder": to_dict(p.encoder),
                "dims": p.encoder.config.dims,
                "loaded_by": [
                    {"loader": take.loader, "how": take.how, "files": list(take.files)} for take in p.loaded_by
                ],
                "reference": to_dict(p.reference),
                "estimate_s": p.estimate_s,
                "download": to_dict(p.transfer.plans),
                "base_download": to_dict(p.base_transfer.plans) if p.base_transfer else [],
                "reference_download": to_dict(p.reference_transfer.plans) if p.reference_transfer else [],
            }
            for p in plan.encoders
        ],
        "skipped": to_dict(plan.skipped),
        "verdict": to_dict(verdict),
        "download_bytes": plan.download_bytes,
        "reference_download_bytes": plan.reference_download_bytes,
        "estimate_s": sum(p.estimate_s for p in plan.encoders),
    }
    return json.dumps(data, indent=indent, ensure_ascii=True, allow_nan=False)


def plan_as_text(plan: TargetPlan, verdict: Verdict | None, command: str) -> str:
    """The plan for people. It ends with the command that scans, or with the verdict where there is nothing to scan."""
    at = f" @ {plan.snapshot.commit_sha[:12]}" if plan.snapshot.commit_sha else ""
    lines = [f"{escape(plan.snapshot.repo_id)}{at}", *_facts(plan.snapshot)]
    for planned in plan.encoders:
        lines += ["", *_encoder_lines(planned)]
    if plan.skipped:
        lines += ["", "Not scanned"]
        lines += [f"  {escape(s.component or s.repo_id)}: {escape(s.detail)} [{s.reason}]" for s in plan.skipped]
    if verdict is not None:
        lines += ["", f"{verdict.label.replace('-', ' ').capitalize()}: {escape(verdict.reasons[0])} [{verdict.code}]"]
    else:
        count, seconds = len(plan.encoders), format_duration(sum(p.estimate_s for p in plan.encoders))
        download = _exactly(plan.download_bytes + plan.reference_download_bytes)
        lines += [
            "",
            f"In all: {count} text encoder{'s' if count != 1 else ''}, {download}, about {seconds} on this machine.",
            f"Scan: {escape(command)}",
        ]
    return "\n".join(unactionable(line) for line in lines)


def _encoder_lines(planned: PlannedEncoder) -> list[str]:
    encoder, reference = planned.encoder, planned.reference
    files = ", ".join(f"{escape(f.path)} ({format_bytes(f.size_bytes)})" for f in encoder.weight_files)
    revision = f" @ {escape(reference.commit_sha)[:12]}" if reference.commit_sha else ""
    name = f"{escape(reference.repo_id)}{revision} ({reference.trust})" if reference.repo_id else "none"
    dtypes = ", ".join(map(escape, encoder.dtypes)) or "dtype unknown"
    base, compared = planned.base_transfer, planned.reference_transfer
    return [
        escape(encoder.label),
        f"  architecture  {escape(encoder.architecture)}, family {encoder.config.family}",
        f"  dimensions    {encoder.config.dims}",
        f"  weights       {files}",
        f"  loaded by     {_loaders_text(planned)}",
        f"  tower         {format_bytes(encoder.tower_bytes)}, {dtypes}",
        f"  download      {_transfer_text(planned.transfer)}",
        *([f"                the base it is merged onto: {_transfer_text(base)}"] if base else []),
        f"  reference     {name}: {escape(reference.note)}",
        *([f"                {_transfer_text(compared)}"] if compared else []),
        f"  time          about {format_duration(planned.estimate_s)} on this machine",
    ]


def _loaders_text(planned: PlannedEncoder) -> str:
    """The calls that load an encoder. Without any, its scan says nothing about what users of the repository run."""
    calls = dict.fromkeys(escape(take.label) for take in planned.loaded_by)
    return "; ".join(calls) or "no loader that is known here"


def _facts(snapshot: RepoSnapshot) -> list[str]:
    facts = [f"license {escape(snapshot.license)}"] if snapshot.license else []
    facts += [word for word, true in (("gated", snapshot.gated), ("private", snapshot.private)) if true]
    if snapshot.base_models:
        facts.append(f"says it is based on {', '.join(map(escape, snapshot.base_models))}")
    return [f"  {', '.join(facts)}"] if facts else []


def _transfer_text(transfer: TransferPlan) -> str:
    """How much of an encoder's weights would be downloaded, and of how much."""
    if transfer.encoder.commit_sha is None:
        return "nothing: on this machine"
    if not transfer.transfer_bytes:
        return "nothing: in the cache"
    requests = sum(plan.n_requests for plan in transfer.plans)
    if all(plan.whole for plan in transfer.plans):
        return _exactly(transfer.transfer_bytes)
    files = format_bytes(sum(file.size_bytes for file in transfer.encoder.weight_files))
    return f"{_exactly(transfer.transfer_bytes)}, of {files}, in {requests} request{'s' if requests != 1 else ''}"


def _exactly(count: int) -> str:
    rounded = f" ({format_bytes(count)})" if count >= 1000 else ""
    return f"{count:,} bytes to download{rounded}" if count else "nothing to download"


def _command(request: Request, target: ResolvedTarget) -> str:
    """The command that makes this scan, at the commit that was shown."""
    scanner, ref = request.scanner, target.ref
    config = scanner.config
    place = "hf://" if ref.subfolder or ref.filename else ""
    words = [
        "amdet-hub",
        "scan",
        ref.raw if ref.kind == "local" else f"{place}{address(ref)}",
        *(["--reference", scanner.reference.raw] if scanner.reference is not None else []),
        *([] if scanner.options.use_reference else ["--no-reference"]),
        *([] if config.preset == ScanConfig().preset else ["--preset", config.preset]),
        *([] if config.seed == ScanConfig().seed else ["--seed", str(config.seed)]),
    ]
    return shlex.join(words)

"""`amdet-hub verify`: does the card's section belong to the present weights? Knows: the three answers' exit codes."""

import json
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._exit_codes import EXIT_DETECTED, EXIT_INCONCLUSIVE, EXIT_OK
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._output import emit, escape
from amdet_hub.cli._request import hub_settings
from amdet_hub.cli._targets import parse_targets

EXIT_CODES = {"fresh": EXIT_OK, "forged": EXIT_DETECTED, "stale": EXIT_INCONCLUSIVE, "missing": EXIT_INCONCLUSIVE}

EPILOG = """
Answers:
  fresh    the section is what amdet-hub makes of the stored report, and the weights it speaks of are the present ones
  stale    a file that may hold weights, or a configuration, was added, changed or removed since
  forged   the section was altered, or speaks of weights the repository never had
  missing  there is no section

Fresh means "belongs to these weights", not "is true": only a new scan tells that.
Exit codes: 0 fresh, 1 forged, 3 stale or missing, 2 usage or error.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Check a card's section against the present weights.")
@click.argument("target", metavar="TARGET")
@opt.revision_option
@opt.data_format_options
@opt.hub_options
@opt.talk_options
@opt.config_option
def verify(target: str, as_json: bool, **flags: Any) -> int:
    """Say whether the amdet-hub section on TARGET's card belongs to its present weights. Downloads no weights."""
    from amdet_hub.model_card.publish import verify_card

    (ref,) = parse_targets([target], flags)
    status = verify_card(ref, hub_settings(flags))
    if as_json:
        emit(json.dumps({"target": target, "state": status.state, "reasons": list(status.reasons)}, indent=2))
    else:
        emit("\n".join([f"{escape(target)}: {status.state}", *(f"  {reason}" for reason in status.reasons)]))
    return EXIT_CODES[status.state]

"""The Action's first step: is there anything to look at?

Writes the plan, the switches of the later steps, and the summary when there is nothing.

An edge, like `amdet_hub.cli`, and like it allowed to speak; it runs before the command line's library is installed.
"""

import os
import sys
from pathlib import Path

from amdet_hub.errors import AmdetError
from amdet_hub.files import write_atomically
from amdet_hub.github_action.job import may_use_cache, read_event, read_inputs, workspace
from amdet_hub.github_action.runner import annotation, write_outputs, write_summary
from amdet_hub.github_action.targets import make_plan

NOTHING = "No checkpoint changed, so there was nothing to scan."


def main() -> int:
    """Returns 0, or 2 with one annotation that says what is wrong."""
    try:
        event = read_event(os.environ)
        plan = make_plan(workspace(os.environ), read_inputs(os.environ), event)
        write_atomically(Path(os.environ.get("AMDET_PLAN") or "amdet-hub-plan.json"), plan.to_json().encode())
    except AmdetError as error:
        sys.stdout.write(annotation("error", f"{error} [{error.code}]") + "\n")
        return 2
    switches = {"needed": plan.needed, "trusted": may_use_cache(os.environ, event)}
    write_outputs(os.environ, {name: "true" if on else "false" for name, on in switches.items()})
    if not plan.needed:
        write_outputs(
            os.environ,
            {"verdict": "nothing-to-scan", "reason-code": "no-model-files", "exit-code": "0", "scanned": "false"},
        )
        write_summary(os.environ, f"### amdet-hub\n\n{NOTHING}\n")
    sys.stdout.write(f"{plan.why}: {len(plan.targets)} to look at\n" if plan.needed else f"{NOTHING}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m amdet_hub.web.make_examples`: scan the demonstration's models and store the results beside the page.

Run it after a change of the version, the demonstration's weights or the detector; a test says when.
"""

import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from amdet_hub.hub.settings import own_cache
from amdet_hub.web.demo import EXAMPLES, demo_settings
from amdet_hub.web.service import ScanService
from amdet_hub.web.settings import PRESETS


def make_examples(folder: Path) -> None:
    """Scan every example with every preset, and replace `folder` by the results cache."""
    with tempfile.TemporaryDirectory() as scratch, demo_settings(Path(scratch) / "shipped") as (settings, _):
        service = ScanService(replace(settings, data_dir=Path(scratch) / "fresh"))
        lookups = [service.look_up(name, preset) for name in settings.examples for preset in PRESETS]
        for lookup in lookups:
            lookup.scanner.scan(lookup.target)
        service.close()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(own_cache(service.settings.hub()) / "results", folder)
    for path in folder.rglob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_bytes())["entry"]))


if __name__ == "__main__":
    make_examples(EXAMPLES)
    sys.stdout.writelines(f"{path.name}\n" for path in sorted(EXAMPLES.rglob("*.json")))

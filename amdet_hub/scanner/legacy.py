"""Goes away when every caller has a Scanner."""

from __future__ import annotations

from typing import Any

from amdet_hub.records import Monitor, ScanReport
from amdet_hub.scanner.options import DEFAULT_OPTIONS
from amdet_hub.scanner.scanner import Scanner


def scan_target(
    ref: Any,
    *,
    config: Any,
    settings: Any,
    reference: Any = None,
    options: Any = DEFAULT_OPTIONS,
    progress: Any = None,
    shared: Any = None,
) -> ScanReport:
    """As before."""
    scanner = Scanner(config, settings, reference, options)
    return scanner.scan(scanner.resolve(ref), Monitor(progress) if progress else Monitor())

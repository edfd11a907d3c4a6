"""`amdet-hub mcp`: the tools of coding agents, over standard input and output.

Knows: that nothing else may be on standard output.
"""

import importlib.util
import io
import os
import sys
from typing import Any

import click

from amdet_hub.cli import _options as opt
from amdet_hub.cli._help import HelpLayout
from amdet_hub.cli._request import build_scanner
from amdet_hub.errors import ConfigError

EPILOG = """
Tools:
  verify_model   what is known of a model without scanning it, and whether to load it
  scan_model     scan it; minutes, or at once for weights that were scanned before
  resolve_model  what would be scanned, and how long it takes

A client starts it itself; its entry is usually
  {"mcpServers": {"amdet-hub": {"command": "amdet-hub", "args": ["mcp", "--preset", "quick"]}}}

It needs the extra: pip install 'amdet-hub[mcp]'.
Exit codes: 0 the client hung up, 2 usage or error.
"""


@click.command(cls=HelpLayout, epilog=EPILOG, short_help="Serve coding agents (Model Context Protocol).")
@opt.scan_options
@opt.download_limit_option
@opt.switch("--allow-local", section="What to scan", help="Let agents name paths on this machine too.")
@opt.hub_options
@opt.talk_options
@opt.config_option
@click.pass_context
def mcp(ctx: click.Context, /, **flags: Any) -> None:
    """Serve scan_model, resolve_model and verify_model on standard input and output, until the client hangs up."""
    if importlib.util.find_spec("mcp") is None:
        raise ConfigError("mcp", "the package 'mcp' is not installed: pip install 'amdet-hub[mcp]'")
    from amdet_hub.automation.mcp_server import ServerConfig, serve

    if flags["token"] == "-":
        raise ConfigError("--token", "standard input belongs to the protocol here; use HF_TOKEN")
    serve(ServerConfig(build_scanner(ctx, flags), flags["allow_local"]), *_protocol_streams())


def _protocol_streams() -> tuple[io.TextIOWrapper, io.TextIOWrapper]:
    """Standard input and output for the protocol alone: all other output now goes to standard error."""
    sys.stdout.flush()
    protocol = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    stdin = io.TextIOWrapper(open(0, "rb", closefd=False), encoding="utf-8", errors="replace")  # noqa: SIM115  lives as long as the process
    return stdin, io.TextIOWrapper(open(protocol, "wb"), encoding="utf-8", newline="\n")

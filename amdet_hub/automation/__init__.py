"""Scans that start by themselves: a guard before loading, a watch over repositories, and the tools of coding agents.

* `guard`: raises before a model with a detected backdoor is loaded.
* `watch`: polls repositories and scans changed ones within a budget; `watch_state` holds the results, so that a kill
  loses one scan at most.
* `answers`, `mcp_server`: the tools `scan_model`, `resolve_model` and `verify_model` of a Model Context Protocol
  server.

Decides when to scan. `amdet_hub.scanner` knows how, and the command line prints.
"""

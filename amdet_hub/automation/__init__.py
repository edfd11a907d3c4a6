"""Scanning without being asked: a watch over repositories, and the tools of coding agents.

* `watch`: polls repositories, scans what changed, within a budget; `watch_state` keeps what was seen, so that a kill
  loses one scan at most.
* `staged`: the checkpoints that changed files belong to, for pre-commit.
* `answers`, `mcp_server`: the tools `scan_model`, `resolve_model` and `verify_model` of a Model Context Protocol
  server.

Knows: when to scan. Refuses to know: how (`amdet_hub.scanner`), and how anything is printed.
"""

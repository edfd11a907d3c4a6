"""The command line: words in, words out. The only room that prints, and the only one that knows exit codes.

* `app`: the root command and what happens to an exception. One module per verb beside it.
* `_options`: flags that verbs share. `_values`: how their values are read. `_config_file`: `--config FILE` and
  `[tool.amdet-hub]`.
* `_output`: stdout is the report and nothing else; files are written whole or not at all. `_progress`: the bars, on
  stderr.
* `_exit_codes`: the numbers, and one table from error class to exit code.

Importing this room imports click and the standard library, so that `--help` is quick. Every verb imports what it needs
when it runs.
"""

#!/usr/bin/env bash
# Install amdet-hub for the Action, in an environment of its own, and say which interpreter has it. Reads only environment variables.
set -euo pipefail
case "$AMDET_PYTHON" in
  /*) ;;
  */*) AMDET_PYTHON="$PWD/$AMDET_PYTHON" ;; # as the first step understood it
esac
cd "$RUNNER_TEMP" # not the checkout: nothing in it may pass for a module or a setting
tell() { printf 'python=%s\n' "$1" >> "$GITHUB_OUTPUT"; }
fail() {
  printf '::error title=amdet-hub::%s\n' "$1"
  exit 2
}

if [ "$AMDET_VERSION" = installed ]; then
  "$AMDET_PYTHON" -P -c 'import amdet_hub' || fail "'version: installed', but the interpreter in 'python' has no amdet-hub."
  tell "$AMDET_PYTHON"
  exit 0
fi
if [ -z "$PIP_EXTRA_INDEX_URL" ]; then unset PIP_EXTRA_INDEX_URL; fi
if [ -z "$AMDET_VERSION" ]; then
  what="$GITHUB_ACTION_PATH"
elif [[ "$AMDET_VERSION" =~ ^[0-9][0-9A-Za-z.]{0,40}$ ]]; then
  what="amdet-hub==$AMDET_VERSION"
else
  fail "'version' is neither a version number nor 'installed'."
fi
"$AMDET_PYTHON" -P -m venv "$AMDET_VENV"
"$AMDET_VENV/bin/pip" --disable-pip-version-check --no-input install --quiet -c "$GITHUB_ACTION_PATH/constraints.txt" "$what"
tell "$AMDET_VENV/bin/python"

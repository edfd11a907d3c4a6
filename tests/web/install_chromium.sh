#!/bin/sh
# A browser for the tests of the web page, where this machine can give one: Debian's, installed as root. Otherwise those tests are skipped, and say so.
if command -v chromium >/dev/null 2>&1 && command -v chromedriver >/dev/null 2>&1; then
  exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing chromium and chromium-driver for the tests of the web page"
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver) >/dev/null 2>&1 ||
    echo "They could not be installed; the browser tests will be skipped"
fi
exit 0

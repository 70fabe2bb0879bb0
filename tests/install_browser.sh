#!/bin/sh
# The browser that the tests of BasketWorld's page drive: any Chromium or Chrome that is there, else Debian's package.
# With HOLDFAST_NO_BROWSER=1 those tests are skipped, and nothing is installed.
set -eu
[ -z "${HOLDFAST_NO_BROWSER:-}" ] || exit 0
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done

as_root=
[ "$(id -u)" = 0 ] || as_root="sudo -n"
if command -v apt-get >/dev/null 2>&1 && $as_root true 2>/dev/null; then
    echo "Installing Chromium for the tests of BasketWorld's page ..."
    export DEBIAN_FRONTEND=noninteractive
    # Lists of packages that are old name files that are gone; so they are renewed where the first try fails.
    $as_root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null 2>&1 || {
        $as_root apt-get update -qq
        $as_root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
    }
    exit 0
fi
echo "The tests of BasketWorld's page need Chromium or Chrome: install one, or set HOLDFAST_NO_BROWSER=1 to skip them." >&2
exit 1

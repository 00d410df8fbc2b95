#!/bin/sh
# Installs what the project's commands need and this Debian machine lacks. Arguments: Debian packages.
set -eu
cd "$(dirname "$0")/../.."

command -v npm >/dev/null 2>&1 || set -- nodejs npm "$@"
missing=""
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  echo "Installing Debian packages:$missing"
  [ "$(id -u)" = 0 ] || { echo "Installing needs root; or install them by hand:$missing" >&2; exit 1; }
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "Installing npm packages"
  # The lock file's versions, and no package's script: what is native comes prebuilt.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  # Debian's npm (9.2) does not link it.
  [ -e node_modules/.bin/node ] ||
    ln -s "../node-linux-$(node -p process.arch)/bin/node" node_modules/.bin/node
fi

#!/bin/sh
# Installs missing Debian packages (the arguments) and npm packages.
set -eu
cd "$(dirname "$0")/../.."

command -v npm >/dev/null 2>&1 || set -- nodejs npm "$@"
missing=""
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  echo "Installing Debian packages:$missing"
  [ "$(id -u)" = 0 ] || { echo "Missing Debian packages; run as root, or install them:$missing" >&2; exit 1; }
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo "Installing npm packages"
  # Installs the lock file's versions, without scripts of packages: native parts are prebuilt.
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  # Debian's npm (9.2) does not create this link.
  [ -e node_modules/.bin/node ] ||
    ln -s "../node-linux-$(node -p process.arch)/bin/node" node_modules/.bin/node
fi

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian packages of the named groups, or says which are missing.
#
#   requirements/deps.sh build test bench
#
# As root, on Debian and its derivatives, what is missing is installed; anyone else is told the
# one command to run. Nothing is done, and nothing printed, when all are there.
set -eu

here=$(dirname "$0")

packages_of() {
    for group in "$@"; do
        sed 's/#.*//' "$here/apt-$group.txt"
    done | sort -u
}

missing_of() {
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

# Package lists older than a day may name versions that the mirrors have dropped.
refresh_lists() {
    fresh=$(find /var/lib/apt/lists -name '*_Packages*' -mtime -1 2>/dev/null | head -n 1)
    [ -n "$fresh" ] || apt-get update
}

if ! command -v dpkg-query >/dev/null; then
    echo "Not a Debian system; install what corresponds to:" $(packages_of "$@") >&2
    exit 0
fi

missing=$(missing_of $(packages_of "$@"))
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "Missing packages. As root: apt-get install --no-install-recommends $missing" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
refresh_lists
apt-get install -y --no-install-recommends $missing

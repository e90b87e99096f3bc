#!/usr/bin/env bash
# Whether systemd understands the units, warns of nothing, and finds them well shut in. Needs no root and starts nothing.
# Where there is no systemd-analyze it says so and ends with 0.
set -euo pipefail

cd "$(dirname "$0")"
if ! command -v systemd-analyze >/dev/null; then
    echo 'packaging: systemd-analyze is not installed: the units are not verified'
    exit 0
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# The program and the user are there on the machine on which a unit is installed, and not here.
for unit in *.service; do
    sed -e 's#/usr/local/bin/hayrick#/bin/true#' -e '/^User=/d' -e '/^Group=/d' "$unit" >"$dir/$unit"
done
# As an instance, too.
cp "$dir/hayrick-volume@.service" "$dir/hayrick-volume@2.service"

said=$(systemd-analyze verify --man=no "$dir"/*.service 2>&1) || { echo "$said" >&2; exit 1; }
# What it says of units of this machine is none of ours.
if grep -F hayrick <<<"$said" >&2; then
    exit 1
fi

# 0 is shut in, 100 open. Older versions know no threshold.
if systemd-analyze security --help 2>&1 | grep -q -- --threshold; then
    for unit in *.service; do
        said=$(systemd-analyze security --offline=yes --threshold=30 "$dir/$unit" 2>&1) ||
            { grep -e '✗' -e Overall <<<"$said" >&2; exit 1; }
    done
fi
echo 'packaging: the units are in order'

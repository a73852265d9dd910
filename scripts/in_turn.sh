#!/bin/sh
# Makes targets of the Makefile one after the other, and prints the time of each. Stops at
# the first that fails.
#
# usage: scripts/in_turn.sh TARGET ...
set -eu
cd "$(dirname "$0")/.."

for target; do
    started=$(date +%s)
    make --no-print-directory "$target" || {
        printf 'runlog: make %s failed\n' "$target" >&2
        exit 1
    }
    took=$(($(date +%s) - started))
    printf 'runlog: make %s took %d min %02d s\n' "$target" $((took / 60)) $((took % 60))
done

#!/bin/sh
# Makes some targets of the Makefile, one after the other, and says what each of them took.
# Ends with the first that fails.
#
# usage: scripts/in_turn.sh TARGET ...
set -eu
cd "$(dirname "$0")/.."

for target; do
    begun=$(date +%s)
    make --no-print-directory "$target" || {
        printf 'runlog: make %s has failed\n' "$target" >&2
        exit 1
    }
    took=$(($(date +%s) - begun))
    printf 'runlog: make %s took %d min %02d s\n' "$target" $((took / 60)) $((took % 60))
done

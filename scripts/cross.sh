#!/bin/bash
# Compiles all C files for systems that are not at hand, with the cross compiler of the
# package ziglang and the headers of the libraries that are installed here. Nothing is
# linked or run. With arguments, only for these targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

targets=("$@")
[ ${#targets[@]} -gt 0 ] ||
    targets=(aarch64-macos x86_64-macos x86_64-linux-musl aarch64-linux-gnu)
folder=build/cross
python=$folder/venv/bin/python
if ! "$python" -m ziglang version >/dev/null 2>&1; then
    rm -rf "$folder"
    .venv/bin/python -m venv "$folder/venv"
    "$python" -m pip --disable-pip-version-check -qq install ziglang
fi

# The headers alone: those of this system's C library must not be found.
rm -rf "$folder/include"
mkdir -p "$folder/include"
for path in "$(pg_config --includedir)"/{libpq-fe,postgres_ext,pg_config_ext}.h \
    /usr/include/sqlite3.h; do
    ln -s "$path" "$folder/include/"
done
for path in /usr/include/*/curl /usr/include/curl; do
    [ ! -d "$path" ] || ln -sfn "$path" "$folder/include/curl"
done
headers=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')

compile() {
    target=$1 source=$2
    "$python" -m ziglang cc -target "$target" -std=c11 -O1 -D_GNU_SOURCE \
        '-DRUNLOG_VERSION="0"' -Isrc -I"$folder/include" -isystem "$headers" \
        -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla -Werror \
        -c -o "$folder/$target-$(tr / - <<<"$source").o" "$source"
}
export -f compile
export folder python headers
failed=0
for target in "${targets[@]}"; do
    if find src -name '*.c' | sort |
        xargs -P "$(nproc)" -I{} bash -c 'compile "$0" "$1"' "$target" {}; then
        echo "runlog: src compiles for $target"
    else
        echo "runlog: src does not compile for $target"
        failed=1
    fi
done
rm -f "$folder"/*.o
exit $failed

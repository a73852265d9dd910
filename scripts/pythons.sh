#!/bin/sh
# Runs the handler's tests on other interpreters: one of each minor version from 3.12 on,
# found on PATH or among pyenv's versions. Each has an environment below build/pythons/.
#
# usage: scripts/pythons.sh [PYTEST ARGUMENT ...]
#
# PYTHONS       interpreters to use instead of those that are found
# SIDE_BY_SIDE  first arguments of pytest, such as "-n 4"
set -eu
cd "$(dirname "$0")/.."

folder=build/pythons

say() {
    printf 'runlog: %s\n' "$*"
}

# Prints the version of a command ("3.12") if it is a CPython with venv and headers.
version_of() {
    "$1" - 2>/dev/null <<'END'
import ensurepip, os, sys, sysconfig, venv
assert sys.implementation.name == "cpython"
assert os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
print("%d.%d" % sys.version_info[:2])
END
}

candidates() {
    for minor in 12 13 14; do
        command -v "python3.$minor" || true
    done
    for python in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        if [ -x "$python" ]; then
            printf '%s\n' "$python"
        fi
    done
}

# Sets up an environment for an interpreter, unless it is up to date.
set_up() {
    where=$1 python=$2
    key="$("$python" -c 'import sys; print(sys.version)') $(cksum <pyproject.toml)"
    [ -x "$where/bin/python" ] && [ "$(cat "$where/.ready" 2>/dev/null)" = "$key" ] &&
        return 0
    say "making $where"
    rm -rf "$where"
    "$python" -m venv "$where"
    "$python" scripts/requirements.py test >"$where/.requirements"
    "$where/bin/python" -m pip --disable-pip-version-check -qq install \
        'setuptools>=77' wheel -r "$where/.requirements"
    printf '%s\n' "$key" >"$where/.ready"
}

seen=
failed=
for python in ${PYTHONS:-$(candidates)}; do
    version=$(version_of "$python") || continue
    case $version in
    3.[0-9] | 3.1[01] | 2.*) [ -n "${PYTHONS:-}" ] || continue ;;
    esac
    case " $seen " in *" $version "*) continue ;; esac
    seen="$seen $version"
    where=$folder/$version
    say "Python $version ($python)"
    set_up "$where" "$python"
    say "building"
    scripts/sweep.sh
    "$where/bin/python" -m pip --disable-pip-version-check -qq install \
        --no-build-isolation --no-deps --force-reinstall .
    # shellcheck disable=SC2086
    "$where/bin/pytest" ${SIDE_BY_SIDE:-} tests/test_handler*.py tests/test_hooks.py "$@" ||
        failed="$failed $version"
done

if [ -z "$seen" ]; then
    say "found no Python 3.12 or later with venv and headers, on PATH or in" \
        "${PYENV_ROOT:-$HOME/.pyenv}/versions: ran no tests"
elif [ -n "$failed" ]; then
    say "the tests failed on:$failed (of:$seen)"
    exit 1
else
    say "the handler's tests passed on:$seen"
fi

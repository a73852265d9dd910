#!/bin/sh
# Runs the handler's tests on several versions of LangGraph, the oldest that the extra
# "langgraph" allows among them, and prints what each version passed and does not deliver
# (tests/versions.py). Each has an environment below build/langgraphs/.
#
# usage: scripts/langgraphs.sh [PYTEST ARGUMENT ...]
#
# LANGGRAPHS    versions to use; "newest" is what pip chooses
# SIDE_BY_SIDE  first arguments of pytest, such as "-n 4"
set -eu
cd "$(dirname "$0")/.."

folder=build/langgraphs
pip=".venv/bin/python -m pip --disable-pip-version-check -qq"

say() {
    printf 'runlog: %s\n' "$*"
}

# Sets up an environment for a version, unless it is up to date.
set_up() {
    where=$1 version=$2
    key="$version $(cksum <pyproject.toml)"
    if [ "$(cat "$where/.ready" 2>/dev/null)" = "$key" ]; then
        [ "$version" != newest ] ||
            $pip --python "$where/bin/python" install --upgrade langgraph langchain-core
        return
    fi
    say "making $where"
    rm -rf "$where"
    .venv/bin/python -m venv --without-pip "$where"
    wanted=$where/.requirements
    .venv/bin/python scripts/requirements.py test >"$wanted"
    [ "$version" = newest ] || echo "langgraph==$version" >>"$wanted"
    case $version in
    0.*) sed -i '/^langchain\b/d' "$wanted" ;; # whose agents ask for a later LangGraph
    esac
    case $version in # pip would choose a langgraph-prebuilt that needs a later LangGraph
    0.4.0) echo "langgraph-prebuilt<0.2" >>"$wanted" ;;
    1.0.10) echo "langgraph-prebuilt<1.0.9" >>"$wanted" ;;
    esac
    $pip --python "$where/bin/python" install -r "$wanted"
    printf '%s\n' "$key" >"$where/.ready"
}

# Which tests a version runs, as pytest's -k has it: what a LangGraph tells a handler does
# not depend on the database, so one of them is enough for the older versions, but for the
# tests of every way to run a graph.
selection() {
    [ "$1" = newest ] || echo "not postgres or test_handler_versions"
}

say "building"
scripts/sweep.sh
rm -rf $folder/wheel
$pip wheel --no-build-isolation --no-deps -w $folder/wheel .

versions=${LANGGRAPHS:-0.4.0 0.6.11 1.0.10 1.1.8 newest}
failed=
for version in $versions; do
    where=$folder/$version
    set_up "$where" "$version"
    $pip --python "$where/bin/python" install --no-deps --force-reinstall \
        $folder/wheel/*.whl
    say "LangGraph $version"
    # shellcheck disable=SC2086
    "$where/bin/pytest" ${SIDE_BY_SIDE:-} -q --junitxml="$where/results.xml" \
        -k "$(selection "$version")" tests/test_handler*.py tests/test_hooks.py "$@" ||
        failed="$failed $version"
done

# shellcheck disable=SC2086
.venv/bin/python scripts/langgraphs_table.py $folder $versions
[ -z "$failed" ] || {
    say "the tests failed on:$failed"
    exit 1
}

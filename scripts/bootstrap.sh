#!/bin/sh
# Installs the prerequisites of a make target: system packages, .venv, and the dependencies
# of one extra of pyproject.toml. Returns at once when all are installed.
#
# usage: scripts/bootstrap.sh EXTRA
#        (langgraph, web, test, browser, prometheus, bench or dev)
#
# PYTHON   the interpreter for .venv (3.11 or later)
set -eu
cd "$(dirname "$0")/.."

extra=$1
venv=.venv
updated=

say() {
    printf 'runlog: %s\n' "$*"
}

die() {
    say "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this command needs root, and sudo is not installed: $*"
    fi
}

apt_update() {
    if [ -z "$updated" ]; then
        say "updating the list of system packages"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
        updated=1
    fi
}

apt_install() {
    apt_update
    say "installing system packages: $*"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

# Whether the headers of a library are installed, by its pkg-config name.
have_library() {
    have pkg-config && pkg-config --exists "$1"
}

# Whether a PostgreSQL server is installed, for the tests.
have_postgres() {
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] && return 0
    done
    have initdb || { have pg_config && [ -x "$(pg_config --bindir)/initdb" ]; }
}

# Whether PgBouncer is installed. Debian puts it into a folder of root's PATH.
have_pgbouncer() {
    have pgbouncer || [ -x /usr/sbin/pgbouncer ]
}

system_packages() {
    missing=
    have gcc || have cc || missing="$missing gcc libc6-dev"
    have make || missing="$missing make"
    have pkg-config || missing="$missing pkg-config"
    have_library libpq || missing="$missing libpq-dev"
    have_library sqlite3 || missing="$missing libsqlite3-dev"
    have_library libcurl || missing="$missing libcurl4-openssl-dev"
    case $extra in
    test)
        have zsh || missing="$missing zsh"
        have fish || missing="$missing fish"
        ;;
    esac
    case $extra in
    test | bench | dev)
        have_postgres || missing="$missing postgresql"
        have_pgbouncer || missing="$missing pgbouncer"
        have openssl || missing="$missing openssl"
        ;;
    browser)
        have chromium || missing="$missing chromium"
        ;;
    prometheus) # promtool comes with it
        have prometheus && have promtool || missing="$missing prometheus"
        ;;
    esac
    [ -n "$missing" ] || return 0
    if have apt-get; then
        # A package may start a server, which the tests do not use.
        # shellcheck disable=SC2086
        apt_install $missing
    else
        say "please install the packages that Debian calls:$missing (continuing without them)"
    fi
}

# Whether a command is a Python 3.11 or later that, with "complete", can also make a venv
# and build extensions.
is_python() {
    "$1" - "${2:-}" 2>/dev/null <<'END'
import os, sys, sysconfig
if sys.version_info < (3, 11):
    sys.exit(1)
if sys.argv[1] == "complete":
    import ensurepip, venv
    header = os.path.join(sysconfig.get_path("include"), "Python.h")
    sys.exit(not os.path.exists(header))
END
}

# Sets $python to an interpreter that is_python accepts, with the same argument.
find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if is_python "$python" "${1:-}"; then
            return 0
        fi
    done
    return 1
}

choose_python() {
    find_python complete && return 0
    [ -z "${PYTHON:-}" ] || die "$PYTHON is not a Python 3.11 with venv and headers"
    have apt-get || die "no Python 3.11 or later with venv and headers was found"
    apt_update
    if find_python && [ "$($python -c 'import sys; print(sys.prefix)')" = /usr ]; then
        name=$($python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
        apt_install "$name-venv" "$name-dev"
    else
        for name in python3.14 python3.13 python3.12 python3.11 none; do
            apt-cache show "$name" >/dev/null 2>&1 && break
        done
        [ "$name" != none ] || die "this system has no package of Python 3.11 or later"
        apt_install "$name" "$name-venv" "$name-dev"
    fi
    find_python complete || die "no Python 3.11 or later with venv and headers was found"
}

make_venv() {
    [ -x $venv/bin/python ] && $venv/bin/python -c '' 2>/dev/null && return 0
    choose_python
    say "making $venv with $($python --version)"
    rm -rf $venv
    "$python" -m venv $venv
}

dependencies() {
    stamp=$venv/.dependencies-$extra
    key=$(cksum <pyproject.toml)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then
        return 0
    fi
    say "installing the Python packages of the extra \"$extra\""
    wanted=$venv/.requirements-$extra
    $venv/bin/python scripts/requirements.py "$extra" >"$wanted"
    $venv/bin/python -m pip --disable-pip-version-check -qq install \
        'setuptools>=77' wheel -r "$wanted"
    $venv/bin/python scripts/requirements.py --without-dependencies "$extra" >"$wanted"
    [ ! -s "$wanted" ] || $venv/bin/python -m pip --disable-pip-version-check -qq install \
        --no-deps -r "$wanted"
    printf '%s\n' "$key" >"$stamp"
}

system_packages
make_venv
dependencies

#!/bin/sh
# Deletes setuptools' copies of the package, build/<flags>/lib.<system>: it would also
# install copies of sources that have been deleted. Compiled objects stay, and so does all
# else below build/, such as environments.
set -eu
cd "$(dirname "$0")/.."

find build/*/lib.* -type f -not -name '*.so' -delete 2>/dev/null || true

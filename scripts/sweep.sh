#!/bin/sh
# Deletes setuptools' copies of the package below build/: it would also install copies of
# sources that have been deleted. Compiled objects stay.
set -eu
cd "$(dirname "$0")/.."

find build -path 'build/*/lib*' -not -path 'build/pythons/*' -not -path 'build/milvus-*' \
    -type f -not -name '*.so' -delete 2>/dev/null || true

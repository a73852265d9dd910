#!/bin/sh
# Deletes from setuptools' folders of the package what may be gone from the sources: it would
# be installed all the same. Compiled objects stay.
set -eu
cd "$(dirname "$0")/.."

find build -path 'build/*/lib*' -not -path 'build/pythons/*' -not -path 'build/milvus-*' \
    -type f -not -name '*.so' -delete 2>/dev/null || true

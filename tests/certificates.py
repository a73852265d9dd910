"""Certificates for servers of the tests, made with the system's openssl."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fixtures_postgres import plain_environment

DAY = timedelta(days=1)

# `openssl req -x509` can't make a certificate that has expired, `openssl ca` can.
CONFIG = """
[ca]
default_ca = own
[own]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = names
x509_extensions = server
[names]
commonName = supplied
[server]
subjectAltName = {names}
"""


def make_certificate(
    folder: Path,
    *,
    start: timedelta = -DAY,
    end: timedelta = 2 * DAY,
    names: str = "DNS:localhost,IP:127.0.0.1",
) -> tuple[Path, Path]:
    """A certificate that vouches for itself, and its key: PEM files in an empty folder.

    It is valid between start and end, from now.
    """
    (folder / "ca.cnf").write_text(CONFIG.format(names=names))
    (folder / "index.txt").touch()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    new = ["req", "-new", *curve, "-keyout", "key.pem", "-out", "request.pem"]
    sign = ["ca", "-batch", "-config", "ca.cnf", "-selfsign", "-keyfile", "key.pem"]
    sign += ["-in", "request.pem", "-out", "cert.pem", "-notext"]
    for option, when in (("-startdate", start), ("-enddate", end)):
        sign += [option, (datetime.now(UTC) + when).strftime("%Y%m%d%H%M%SZ")]
    for command in ([*new, "-subj", "/CN=localhost"], sign):
        done = subprocess.run(
            ["openssl", *command],
            cwd=folder,
            env=plain_environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    return folder / "cert.pem", folder / "key.pem"

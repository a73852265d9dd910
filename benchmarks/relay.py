"""A socket between a program and its PostgreSQL server that counts what is sent to it."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

from pgserver import PORT


class Relay:
    """Listens in a folder of its own, as a server would; `sent` counts bytes."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.sent = 0
        self._server = str(server / f".s.PGSQL.{PORT}")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / f".s.PGSQL.{PORT}"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            for pair in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._forward, args=pair, daemon=True).start()

    def _forward(self, source: socket.socket, to: socket.socket, counts: bool) -> None:
        with suppress(OSError):  # either side may leave
            while data := source.recv(1 << 16):
                to.sendall(data)
                if counts:
                    self.sent += len(data)
            to.shutdown(socket.SHUT_WR)

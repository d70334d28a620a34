"""A web server for one page on this machine: three files, a small JSON API, and refusals for everything else.

What it is careful about, and why:

A. It listens on 127.0.0.1 alone, so no other machine reaches it.
B. A page of another site, open in the same browser, could still send requests here. So the Host header has to name
   this server (else 421: against DNS rebinding), an Origin header too (else 403), and a body has to be declared as
   JSON, which a foreign page may not do unasked (else 415).
C. A body has to say its length, of at most `MOST` bytes (411, 413), and has to come within `PATIENCE` seconds.
D. Files are entries of a table, not paths: there is nothing to traverse.
E. The page may load nothing that does not come from here, and may be framed by nobody (Content-Security-Policy).
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from bitquant.errors import BitquantError
from bitquant.lab.api import ANSWERS

MOST = 16_384  # bytes of a body
PATIENCE = 10.0  # seconds without a byte from the browser
_ADDRESS = "127.0.0.1"
_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/lab.css": ("lab.css", "text/css; charset=utf-8"),
    "/lab.js": ("lab.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Lab:
    """The server of the page; a context manager that serves in a thread of its own.

    Parameters
    ----------
    port : int
        0 takes a free one.

    Attributes
    ----------
    url : str

    Raises
    ------
    BitquantError
        When the port cannot be had.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> from bitquant.lab import Lab
    >>> with Lab() as lab, urlopen(lab.url) as page:
    ...     page.status
    200
    """

    def __init__(self, port: int = 0) -> None:
        if not 0 <= port < 1 << 16:
            raise BitquantError(f"{port} is no port: give one from 1 to 65535, or 0 for any that is free")
        try:
            self._server = _Server((_ADDRESS, port), _Handler)
        except OSError as error:
            raise BitquantError(
                f"port {port} cannot be had ({error.strerror or error}): give another, or 0 for any that is free"
            ) from error
        self.url = f"http://{_ADDRESS}:{self._server.server_port}/"

    def serve(self) -> None:
        """Serve until interrupted."""
        try:
            self._server.serve_forever()
        finally:
            self._server.server_close()

    def __enter__(self) -> Lab:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an answer in the making does not hold up the end

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "bitquant"
    sys_version = ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Give a file of the page."""
        if not self._trusted():
            return
        if self.path in ANSWERS:
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.path} takes POST", Allow="POST")
        elif self.path not in _FILES:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page: the lab is at /")
        else:
            name, kind = _FILES[self.path]
            self._send(HTTPStatus.OK, (files("bitquant.lab") / "page" / name).read_bytes(), kind)

    def do_HEAD(self) -> None:
        """Give the headers of a file."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer a question of the page."""
        if not self._trusted():
            return
        if self.path not in ANSWERS:
            known = self.path in _FILES
            status = HTTPStatus.METHOD_NOT_ALLOWED if known else HTTPStatus.NOT_FOUND
            self._refuse(status, f"there is nothing to ask at this address: ask one of {', '.join(ANSWERS)}")
            return
        body = self._body()
        if body is None:
            return
        try:
            answer = ANSWERS[self.path](_parsed(body))
        except BitquantError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except Exception:  # whatever it is, the page is told and the terminal has the details
            traceback.print_exc()
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the lab failed: its terminal says how")
        else:
            self._send_json(HTTPStatus.OK, answer)

    def _trusted(self) -> bool:
        """Whether the request is meant for this server and comes from its own page; refused if not."""
        port = self.server.server_port
        hosts = {f"{name}:{port}" for name in (_ADDRESS, "localhost")}
        given = self.headers.get_all("Host") or []
        if len(given) != 1 or given[0] not in hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"this is the lab at {_ADDRESS}:{port} and no other host")
            return False
        origins = self.headers.get_all("Origin") or []
        site = self.headers.get("Sec-Fetch-Site", "none")
        foreign = any(origin != f"http://{given[0]}" for origin in origins)
        if foreign or (self.command == "POST" and site not in ("same-origin", "none")):
            self._refuse(HTTPStatus.FORBIDDEN, "the lab answers its own page and no other")
            return False
        return True

    def _body(self) -> bytes | None:
        """The body of a request; None where it was refused."""
        if self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "ask in JSON: Content-Type: application/json")
            return None
        lengths = self.headers.get_all("Content-Length") or []
        if "Transfer-Encoding" in self.headers or len(lengths) != 1:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "say once how long the body is: Content-Length")
            return None
        if not (lengths[0].isascii() and lengths[0].isdigit()):
            self._refuse(HTTPStatus.BAD_REQUEST, "Content-Length is no number of bytes")
            return None
        if len(lengths[0]) > 9 or int(lengths[0]) > MOST:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {MOST} bytes: ask for less")
            return None
        return self.rfile.read(int(lengths[0]))

    def _refuse(self, status: HTTPStatus, sentence: str, **headers: str) -> None:
        """Answer with an error, and read no more from this connection: a body may be left in it."""
        self.close_connection = True
        self._send_json(status, {"error": sentence}, Connection="close", **headers)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no proper request as everything else is answered."""
        status = HTTPStatus(code)
        self._refuse(status, message or status.phrase)

    def _send_json(self, status: HTTPStatus, value: Any, **headers: str) -> None:
        text = json.dumps(value, ensure_ascii=True, allow_nan=False)
        self._send(status, text.encode(), "application/json", **headers)

    def _send(self, status: HTTPStatus, body: bytes, kind: str, **headers: str) -> None:
        self.send_response(status)
        given = {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS, **headers}
        for name, value in given.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal quiet: it shows the address, and errors."""


def _parsed(body: bytes) -> dict[str, Any]:
    """A body as the JSON object that it has to be."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise BitquantError("the body is no JSON: send an object such as {}") from None
    if not isinstance(value, dict):
        raise BitquantError("the body is no JSON object: send one such as {}")
    return value


__all__ = ["MOST", "Lab"]

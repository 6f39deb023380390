"""What stands before every request: who may ask, from which page, how much, and what a browser may do.

- Without a token, only requests that name this machine (or a configured host) are answered: a foreign site that
  points its own name at 127.0.0.1 (DNS rebinding) gets nothing.
- With a token, each request carries `Authorization: Bearer TOKEN` or the cookie that the login form gives.
- A request that changes something must come from our own pages (Sec-Fetch-Site, else Origin); programs send neither.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGIN_COOKIE: Final = "homeward_login"
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
BODY_LIMIT: Final = 64 * 1024

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# But for the first two, these bring a signed link.
_OPEN_PATHS: Final = ("/login", "/static/", "/answer/", "/survey/", "/message/", "/education/")
_FOR_PROGRAMS: Final = ("/api/", "/metrics")
_TITLES: Final = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    503: "Service Unavailable",
}
_HEADERS: Final[Mapping[str, str]] = {
    # Scripts come from our own files alone. Plotly writes style elements and attributes as it draws.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """Who may use the API and the pages.

    token: asked of every request; None only when the house listens on loopback alone. host_names: further names
    under which this machine is reached when there is no token.
    """

    token: str | None = None
    host_names: frozenset[str] = frozenset()


def problem(status: int, detail: str) -> JSONResponse:
    """An error as RFC 9457 problem details; `detail` is a sentence that says what is wrong."""
    body = {"type": "about:blank", "title": _TITLES.get(status, "Error"), "status": status, "detail": detail}
    return JSONResponse(body, status, media_type="application/problem+json")


def login_value(token: str) -> str:
    """What the login cookie holds: shows that the browser knew the token, without being the token."""
    return hmac.new(token.encode(), b"homeward login", hashlib.sha256).hexdigest()


def same_token(given: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


class Guard:
    """The ASGI middleware that applies the rules above."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._token = settings.token
        self._names = LOOPBACK_NAMES | settings.host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may not pass, and let the others through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                # Patients' data stays out of caches; "no-cache" lets the browser ask whether a file is still good.
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = _host_name(headers.get("host", ""))
        if host is None:
            return problem(400, "The Host header names no host.")
        if self._token is None and host not in self._names:
            return problem(
                421,
                "This Homeward is not reached under that host name. If it should be, set base_url under [web] in its "
                "configuration to the address that people use, or set a token there.",
            )
        if scope["method"] not in _SAFE:
            if not _from_our_pages(headers):
                return problem(403, "The request comes from a page of another site and was refused.")
            if "transfer-encoding" in headers:
                return problem(411, "Send the body with a Content-Length.")
            length = headers.get("content-length", "0")
            if not re.fullmatch("[0-9]{1,20}", length):
                return problem(400, "The Content-Length is no number.")
            if int(length) > BODY_LIMIT:
                return problem(413, f"The body is larger than {BODY_LIMIT} octets.")
        if self._token is None or scope["path"].startswith(_OPEN_PATHS) or self._knows_token(headers):
            return None
        if scope["path"].startswith(_FOR_PROGRAMS):
            refusal: Response = problem(401, "Send the token of this Homeward as `Authorization: Bearer TOKEN`.")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        wanted = scope["path"] if scope["method"] in _SAFE else "/"
        return RedirectResponse(f"/login?next={quote(wanted)}", 303)

    def _knows_token(self, headers: Headers) -> bool:
        if self._token is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same_token(bearer.strip(), self._token):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(LOGIN_COOKIE, "")
        return same_token(cookie, login_value(self._token))


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # a bracket that is not closed, for one
        return None


def _from_our_pages(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    # Behind a proxy that ends TLS the scheme differs, so the host and port alone are compared.
    return origin is None or origin.partition("://")[2] == headers.get("host")

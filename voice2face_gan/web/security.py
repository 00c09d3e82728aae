"""Guard before every route: Host, Origin, token; security headers on every answer.

Threats: a page of another site that posts to 127.0.0.1 (Origin, Sec-Fetch-Site); a name of another site that
resolves to 127.0.0.1, "DNS rebinding" (Host); others in the network, once the server listens there (token).
An address in digits cannot be rebound, so a Host of digits is always accepted, a name only if it is listed.
"""

import hmac
import ipaddress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse

COOKIE = "v2f_token"
OPEN_PATHS = ("/health",)  # without a token: for load balancers; it names no recording and no path
LOGIN_BYTES = 4096

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_LOGIN = """<!doctype html><html lang="en"><meta charset="utf-8"><title>v2f-gan studio</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/studio.css">
<main class="narrow"><h1>Token</h1><p>{note}</p>
<form method="post" action="/login"><label>Token <input name="token" type="password" autocomplete="off"
autofocus></label><button class="primary">Open the studio</button></form></main></html>"""


class Guard:
    """ASGI middleware.

    Args:
        app: the application behind it.
        token: what a client must know; None for none.
        hosts: names accepted in Host, beside addresses in digits and "localhost".
    """

    def __init__(self, app, token: str | None, hosts: tuple[str, ...] = ()):
        self.app, self.token = app, token
        self.named = {host.lower() for host in hosts}
        self.hosts = {"localhost", *self.named}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":  # lifespan
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = await self._refused(scope, receive)
        await (answer or self.app)(scope, receive, send_with_headers)

    async def _refused(self, scope, receive):
        """The answer to a request that does not get through, or None."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.accepts(hosts[0]):
            return _error(421, "This server is not known under that name; start it with --allow-host NAME.")
        if not self._same_origin(headers, hosts[0]):
            return _error(403, "Requests from pages of other sites are refused.")
        if self.token is None or scope["path"] in OPEN_PATHS:
            return None
        if scope["path"] == "/login" and scope["method"] == "POST":
            return await self._login(receive)
        given = _bearer(headers) or _cookie(headers)
        if given is not None and self._is_token(given):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and scope["method"] == "GET":
            offered = query.get("token", [""])[0]
            return self._admitted() if self._is_token(offered) else _login("It was printed at the start.")
        if scope["path"] == "/studio.css":
            return None
        return _error(401, "A token is needed: send the header Authorization: Bearer TOKEN.", Bearer=True)

    def accepts(self, host: str) -> bool:
        """True for a Host header that cannot be another site's name."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _same_origin(self, headers: Headers, host: str) -> bool:
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            # A link on another site may open the page; it may not post, and reads nothing.
            return headers.get("sec-fetch-mode") == "navigate" and headers.get("origin") is None
        origin = headers.get("origin")
        if origin is None:
            return True
        found = urlsplit(origin)
        # Behind a proxy Host may be the server's own address; the names given with --allow-host are ours too.
        return found.netloc.lower() == host.lower() or (found.hostname or "") in self.named

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _admitted(self):
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
        return answer

    async def _login(self, receive):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if len(body) > LOGIN_BYTES or not message.get("more_body"):
                break
        offered = parse_qs(body[:LOGIN_BYTES].decode("latin-1")).get("token", [""])[0]
        return self._admitted() if self._is_token(offered) else _login("That is not the token.")


def _error(status: int, sentence: str, Bearer: bool = False):
    headers = {"WWW-Authenticate": "Bearer"} if Bearer else {}
    return JSONResponse({"error": sentence}, status, headers)


def _login(note: str):
    return HTMLResponse(_LOGIN.format(note=note), 401)


def _bearer(headers: Headers) -> str | None:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value

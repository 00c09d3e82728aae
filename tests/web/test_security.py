"""Who may ask: hosts, origins, tokens; what every answer carries; that no request reaches a path."""

import pytest

from voice2face_gan.errors import ServeError
from voice2face_gan.web.app import Settings
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.security import HEADERS, Guard
from voice2face_gan.web.server import address, bind, check_access, is_local

TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def guarded(serving):
    settings = Settings(("synthetic",), token=TOKEN, hosts=("lab.example",), limits=Limits(workers=1))
    with serving(settings) as client:
        yield client


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "["])
def test_another_sites_name_is_refused(studio, host):
    answer = studio.get("/", host=host)
    assert answer.status in (400, 421), host


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:7860", "10.1.2.3:80"])
def test_addresses_and_localhost_are_accepted(host):
    guard = Guard(None, None)
    assert guard.accepts(host) and not guard.accepts("lab.example")
    assert Guard(None, None, ("Lab.Example",)).accepts("lab.example:7860")


def test_two_hosts_are_refused(studio):
    head = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert b" 400 " in studio.raw(head) or b" 421 " in studio.raw(head)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors"},
    ],
)
def test_pages_of_other_sites_cannot_ask(studio, headers):
    answer = studio("POST", "/api/v1/faces", b"", **headers)
    assert answer.status == 403 and "access-control-allow-origin" not in answer.headers


def test_the_page_itself_and_a_link_to_it_can(studio):
    own = f"http://127.0.0.1:{studio.port}"
    assert studio.get("/health", origin=own, sec_fetch_site="same-origin").status == 200
    assert studio.get("/", sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200
    preflight = studio("OPTIONS", "/api/v1/faces", origin="https://evil.example")
    assert preflight.status == 403 and not [h for h in preflight.headers if h.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/studio.js", "/health", "/nothing", "/api/v1/faces"])
def test_every_answer_has_the_headers(studio, path):
    answer = studio.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value, (path, name)
    assert "server" not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_pages_name_no_other_host(studio):
    """In any file of the page; the namespace of SVG is a name, not an address."""
    names = [
        route.path
        for route in studio.app.routes
        if "{" not in route.path and not route.path.startswith("/api/v1")
    ]
    assert len(names) > 12
    for name in names:
        text = studio.get(name).body.decode().replace("http://www.w3.org/2000/svg", "")
        text = text.replace("http://127.0.0.1", "")
        assert "http://" not in text and "https://" not in text.replace("https:// and", ""), name
        assert "//" not in text or not [x for x in ('src="//', 'href="//', "url(//") if x in text], name


@pytest.mark.parametrize(
    "path",
    [
        "/../setup.cfg",
        "/..%2f..%2fsetup.cfg",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/studio.css/../../server.py",
        "/pages/index.html",
        "/index.html",
        "/api/v1/runs/..%2f..",
        "/api/v1/examples/%2fetc%2fpasswd",
        "/studio.js%00.css",
    ],
)
def test_no_request_names_a_path(studio, path):
    answer = studio.get(path)
    assert answer.status in (400, 404), path
    assert b"root:" not in answer.body and b"[metadata]" not in answer.body


def test_a_token_is_asked_for(guarded):
    assert guarded.get("/health").status == 200
    for path in ("/api/v1/checkpoints", "/metrics", "/studio.js", "/openapi.json"):
        answer = guarded.get(path)
        assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer", path
    page = guarded.get("/")
    assert page.status == 401 and b"<form" in page.body and TOKEN.encode() not in page.body
    assert guarded.get("/", host="lab.example").status == 401
    assert guarded.get("/", host="evil.example").status == 421


def test_a_proxy_may_name_the_server_otherwise(guarded):
    def status(origin: str) -> int:
        return guarded.get("/metrics", authorization=f"Bearer {TOKEN}", origin=origin).status

    assert status("https://lab.example") == 200 and status("https://evil.example") == 403


def test_a_token_opens(guarded):
    assert guarded.get("/metrics", authorization=f"Bearer {TOKEN}").status == 200
    assert guarded.get("/metrics", authorization=f"Bearer {TOKEN}x").status == 401
    assert guarded.get("/metrics", authorization=f"Basic {TOKEN}").status == 401
    assert guarded.get("/metrics", authorization="Bearer \xff").status == 401


@pytest.mark.parametrize("way", ["query", "form"])
def test_a_browser_gets_a_cookie(guarded, way):
    if way == "query":
        wrong, right = guarded.get("/?token=wrong"), guarded.get(f"/?token={TOKEN}")
    else:
        wrong, right = (guarded("POST", "/login", f"token={token}") for token in ("wrong", TOKEN))
    assert wrong.status == 401 and "set-cookie" not in wrong.headers
    assert right.status == 303 and right.headers["location"] == "/"
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert guarded.get("/", cookie=cookie.partition(";")[0]).status == 200
    assert guarded.get("/", cookie="v2f_token=wrong").status == 401


def test_addresses_of_this_machine_alone():
    assert all(is_local(host) for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"))
    assert not any(is_local(host) for host in ("0.0.0.0", "::", "10.0.0.1", "lab.example", ""))


def test_listening_for_others_is_a_decision():
    check_access("127.0.0.1", None, False)
    check_access("0.0.0.0", TOKEN, False)
    check_access("0.0.0.0", None, True)
    with pytest.raises(ServeError, match="--host 0.0.0.0 lets others reach the studio: give --token"):
        check_access("0.0.0.0", None, False)
    with pytest.raises(ServeError, match="8 letters"):
        check_access("0.0.0.0", "short", False)


def test_a_taken_port_is_one_sentence():
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ServeError, match=f"127.0.0.1:{port} cannot be used"):
            bind("127.0.0.1", port)
    with pytest.raises(ServeError, match="no such address"):
        bind("no.such.host.invalid", 0)


def test_the_address_to_click():
    assert address("0.0.0.0", 7860, TOKEN) == f"http://127.0.0.1:7860/?token={TOKEN}"
    assert address("::1", 1, None) == "http://[::1]:1/"

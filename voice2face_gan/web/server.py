"""The server: its address, its socket, its run from start to end."""

import ipaddress
import re
import socket
import threading
import webbrowser
from collections.abc import Callable

from voice2face_gan.errors import CheckpointError, ServeError
from voice2face_gan.web.app import Settings, create_app

MIN_TOKEN = 8
_IDLE_SECONDS = 15
_END_SECONDS = 5


def is_local(host: str) -> bool:
    """True for an address that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_access(host: str, token: str | None, no_token: bool) -> None:
    """Refuse to listen where others reach the server without a decision about a token.

    Raises:
        ServeError: such an address without token and without `no_token`; a token that is too short.
    """
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise ServeError(f"the token must have {MIN_TOKEN} letters or digits of ASCII or more.")
    if token is None and not no_token and not is_local(host):
        raise ServeError(
            f"--host {host} lets others reach the studio: give --token WORD, or --no-token if that is meant."
        )


def check_hosts(names: tuple[str, ...]) -> None:
    """Refuse what no Host header can name.

    Raises:
        ServeError: an address, a port or nothing in the place of a name.
    """
    for name in names:
        if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
            raise ServeError(f"--allow-host '{name}' is no name; give one such as studio.example.org.")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ServeError: the port is taken, or the address is none of this machine's.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ServeError(f"--host {host}: there is no such address.") from None
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as error:
        sock.close()
        free = "" if port == 0 else "; give another --port, or --port 0 for a free one"
        raise ServeError(f"{host}:{port} cannot be used ({error.strerror or error}){free}.") from None
    return sock


def serve(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 7860,
    say: Callable[[str], None] = print,
    open_browser: bool = False,
) -> None:
    """Serve until Ctrl-C.

    Args:
        settings: of the application.
        host, port: to listen on; port 0 is a free one.
        say: called with lines for the user.
        open_browser: open the page once the server answers.
    Raises:
        ServeError: the address cannot be used, no such folder of runs.
        CheckpointError: a checkpoint does not load.
    """
    failures: list[str] = []

    def fail(sentence: str) -> None:
        failures.append(sentence)
        server.should_exit = True

    app = create_app(settings, fail)
    sock = bind(host, port)
    server = make_server(app, settings.limits.connections)
    url = address(host, sock.getsockname()[1], settings.token)
    say(f"Studio: {url}")
    say("Recordings are kept in memory for one answer and written nowhere. Ctrl-C ends the studio.")
    if open_browser:
        threading.Timer(0.5, webbrowser.open, (url,)).start()
    try:
        server.run(sockets=[sock])
    except KeyboardInterrupt:
        pass  # Uvicorn has ended everything in order before it passes Ctrl-C on
    finally:
        sock.close()
    if failures:
        raise CheckpointError(failures[0])
    say("The studio has ended.")


def make_server(app, connections: int):
    """The `uvicorn.Server` of an application; its `run(sockets=[...])` serves.

    Args:
        connections: open at once.
    """
    import uvicorn

    from voice2face_gan.web.protocol import BoundedProtocol

    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        log_level="critical",
        access_log=False,  # no address and no name of a client
        server_header=False,
        proxy_headers=False,
        limit_concurrency=connections,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_END_SECONDS,
    )
    return uvicorn.Server(config)


def address(host: str, port: int, token: str | None) -> str:
    """The address to open in a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")

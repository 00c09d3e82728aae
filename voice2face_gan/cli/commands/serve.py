"""`v2f-gan serve`: the studio in a browser, and the HTTP API."""

import click

from voice2face_gan.cli._console import NumberRange, say
from voice2face_gan.cli._image_options import device_option
from voice2face_gan.errors import ServeError


@click.command()
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NAME",
    help="As for generate; several times for a choice. [default: all that ship]",
)
@click.option("--runs", metavar="DIR", help="A folder of run folders, shown read-only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=7860, show_default=True, help="0: a free one.")
@click.option(
    "--token",
    envvar="V2F_TOKEN",
    help="Word that clients must know, wanted beyond this machine; or V2F_TOKEN.",
)
@click.option("--no-token", is_flag=True, help="Listen beyond this machine without one.")
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Name that browsers know the server by.",
)
@click.option("--workers", type=click.IntRange(1, 64), help="Recordings done at once.")
@click.option(
    "--max-mb", type=NumberRange(0.1, 2048), default=32.0, show_default=True, help="Largest upload, MiB."
)
@click.option(
    "--max-minutes",
    type=NumberRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Longest recording, minutes.",
)
@device_option
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def serve(
    checkpoints, runs, host, port, token, no_token, hosts, workers, max_mb, max_minutes, device, open_browser
):
    """Serve the studio: a page to record or drop a voice and see a face, and an HTTP API.

    \b
      v2f-gan serve --open                            http://127.0.0.1:7860/
      v2f-gan serve --checkpoint runs/00001-mine      your own model
      v2f-gan serve --runs runs                       follow a training too
      v2f-gan serve --host 0.0.0.0 --token WORD       for a laboratory; put HTTPS in front

    It listens on this machine alone. Recordings stay in memory and are forgotten with the answer. A browser
    opens the microphone on https:// or this machine alone; from another one: ssh -L 7860:127.0.0.1:7860 HOST.
    """
    try:
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ServeError(
            f"the studio needs the package {error.name}: pip install 'voice2face-gan[web]'."
        ) from error
    from voice2face_gan.web.app import Settings
    from voice2face_gan.web.limits import Limits
    from voice2face_gan.web.server import check_access, check_hosts
    from voice2face_gan.web.server import serve as run

    check_access(host, token, no_token)
    check_hosts(hosts)
    limits = Limits(
        upload_bytes=int(max_mb * 2**20), recording_seconds=max_minutes * 60, workers=workers or 0
    )
    names = tuple(checkpoints) or Settings.checkpoints
    settings = Settings(names, runs, token, tuple(hosts), device, limits)
    run(settings, host, port, say, open_browser)

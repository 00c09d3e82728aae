"""Generated faces as PNG files, with text metadata that marks them as synthetic."""

from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from voice2face_gan.errors import OutputError
from voice2face_gan.files import write_bytes
from voice2face_gan.version import __version__


def synthetic_metadata(checkpoint: str, **more: str) -> dict[str, str]:
    """Text for the `.info` of an image that the checkpoint of this name generated; `more` follows it."""
    return {
        "Synthetic": "yes: generated from a voice; not an image of a real person",
        "Software": f"voice2face-gan {__version__}",
        "Checkpoint": checkpoint,
        **more,
    }


def png_bytes(image: Image.Image, metadata: dict[str, str] | None = None) -> bytes:
    """A PIL image as the bytes of a PNG file.

    Args:
        metadata: text chunks of the file; default the image's `.info`.
    """
    text = PngInfo()
    for key, value in (image.info if metadata is None else metadata).items():
        text.add_text(key, value)
    content = BytesIO()
    image.save(content, "PNG", pnginfo=text)
    return content.getvalue()


def write_png(path: Path, image: Image.Image) -> None:
    """Write a PIL image with its `.info`, whole or not at all; its folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, png_bytes(image))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}).") from error

"""A refused request: status and one sentence, answered as JSON."""

from starlette.responses import JSONResponse

from voice2face_gan.errors import NoSpeechError, VoiceToFaceError


class Refusal(Exception):
    """A request that is not done.

    Args:
        status: of HTTP, 400 to 503.
        sentence: for the user: what, and what to do.
        retry_after: seconds after which to try again; None where that is of no use.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None):
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after


def refusal_of(error: VoiceToFaceError) -> Refusal:
    """The refusal that one of the package's errors becomes: 422 without speech, else 400."""
    status = 422 if isinstance(error, NoSpeechError) else 400
    return Refusal(status, sentence_case(str(error).replace("the array given: ", "")))


def refusal_response(refusal: Refusal) -> JSONResponse:
    """{"error": sentence}, with Retry-After where trying again helps."""
    headers = {} if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return JSONResponse({"error": refusal.sentence}, refusal.status, headers)


def sentence_case(text: str) -> str:
    """The text with a capital at its beginning and a full stop at its end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."

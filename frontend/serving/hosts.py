"""A WSGI layer that answers only for the site's own host, and takes no prefix from a client."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from frontend.serving.cache import Environ, StartResponse, Wsgi
from frontend.serving.refusals import refusal

ANY_HOST: Final = ("/healthz", "/readyz")  # the load balancer asks for them by the task's address


class Hosts:
    """Wraps a WSGI application: 421 for any host but that of `url`; with an empty one all pass.

    Nothing that is answered depends on the host, so that an answer can be kept for the next
    visitor whoever asked for it first; this is for what asks a wrong server, e.g. by rebinding.
    """

    def __init__(self, app: Wsgi, url: str) -> None:
        self._app, self._host = app, urlsplit(url).netloc.lower()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # gunicorn takes it from a header of that name when the client is on this machine.
        environ["SCRIPT_NAME"] = ""
        asked = environ.get("HTTP_HOST", "").lower()
        if not self._host or asked == self._host or environ["PATH_INFO"] in ANY_HOST:
            return self._app(environ, start_response)
        headers, body = refusal(environ["PATH_INFO"], 421, f"This site is {self._host}.")
        start_response("421 MISDIRECTED REQUEST", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

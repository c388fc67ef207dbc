"""flask-smorest, set up: it validates parameters and writes the OpenAPI document."""

from typing import Final

import marshmallow as ma
from flask_smorest import Api, Blueprint
from webargs.flaskparser import FlaskParser

from cloudping import __version__
from frontend.api.formats import BARE, LICENCE
from frontend.api.schemas import ErrorSchema
from frontend.data.store import MAX_DAYS, MAX_HOURS, MAX_PAGE, NEAR_YEARS

DESCRIPTION: Final = f"""Round-trip times between the AWS regions. All latencies are milliseconds,
all times UTC in ISO 8601. Where there is no figure there is `null` (an empty cell in CSV): never 0.
`network` is `simulated` when figures come from the simulated network of a local installation.
Everything here may be read from any site (CORS) and without a key. The data are {LICENCE}.

Limits: by default 600 requests a minute of a client (of IPv6, its /48) to each process of the site,
also all at once; what is long or dear to make counts as several (one for each 16 KiB: take gzip).
Beyond that the answer is 429, and when the site is busy, or as much was read as may be, 503, both
with `Retry-After`. A client has one bulk download at a time. Daily figures span up to {MAX_DAYS}
days, hourly ones and samples up to {MAX_HOURS.days} days, in the years {NEAR_YEARS[0]} to
{NEAR_YEARS[1]}; a page of samples has up to {MAX_PAGE} runs. Address and headers have up to 8 KiB
each, together 16 KiB. Any other method than GET, HEAD and OPTIONS is 405."""


class _Parser(FlaskParser):
    """A parameter that is wrong is the caller's fault: 400; one that is unknown is named."""

    DEFAULT_VALIDATION_STATUS = 400
    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {"query": ma.RAISE}  # noqa: RUF012 - webargs' own


class Checked(Blueprint):  # type: ignore[misc]  # flask-smorest has no types
    """Parameters are checked against a schema; what fails is answered in the one shape."""

    ARGUMENTS_PARSER = _Parser()


class _Api(Api):  # type: ignore[misc]
    ERROR_SCHEMA = ErrorSchema

    def _register_error_handlers(self) -> None:
        """None: frontend.pages.errors answers, for pages as well."""


api = _Api(
    spec_kwargs={
        "title": "CloudPing",
        "version": "v1",
        "openapi_version": "3.1.0",
        "info": {
            "description": DESCRIPTION,
            "license": {"name": LICENCE, "url": "https://creativecommons.org/licenses/by/4.0/"},
            "x-software-version": __version__,
        },
    }
)


# What flask-smorest does not know of: rows come in other formats as well.
ROWS: Final = {
    "responses": {
        200: {
            "content": {
                bare.content_type.partition(";")[0]: {"schema": {"type": "string"}}
                for bare in BARE.values()
            }
        }
    }
}

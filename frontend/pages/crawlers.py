"""`/robots.txt`, `/sitemap.xml`, `/favicon.ico`: what programs ask a site for by themselves."""

from flask import Blueprint, Response, abort, redirect, url_for
from markupsafe import escape
from werkzeug import Response as Redirection

from frontend.data.site import site, snapshot
from frontend.pages.links import Links
from frontend.serving.cache import keep

# The matrix has an address for each choice: enough to keep a crawler busy for ever.
ROBOTS = "User-agent: *\nDisallow: /api/\nDisallow: /*?\n"


def blueprint(navigation: tuple[tuple[str, str], ...]) -> Blueprint:
    """The addresses; the site map has the pages of `navigation`, every region and every pair."""
    made = Blueprint("crawlers", __name__)

    @made.get("/robots.txt")
    def robots() -> Response:
        url = site().settings.frontend_url.rstrip("/")
        return Response(
            ROBOTS + (f"Sitemap: {url}/sitemap.xml\n" if url else ""), mimetype="text/plain"
        )

    @made.get("/sitemap.xml")
    def sitemap() -> Response:
        """Its addresses have to be absolute, and only FRONTEND_URL says what this site's are."""
        url = site().settings.frontend_url.rstrip("/")
        if not url:
            abort(404, "There is no site map: it needs FRONTEND_URL, the address of this site.")
        keep()
        current, links = snapshot(), Links()
        paths = [
            *(path for path, _ in navigation),
            *(links.region(code) for code in sorted(s.region.code for s in current.states)),
            *(links.pair(*pair) for pair in sorted(current.cells.get("1D", {}))),
        ]
        lines = "".join(f"<url><loc>{escape(url + path)}</loc></url>\n" for path in paths)
        return Response(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{lines}</urlset>\n',
            mimetype="application/xml",
        )

    @made.get("/favicon.ico")
    def favicon() -> Redirection:
        return redirect(url_for("static", filename="icon.svg"), 301)

    return made

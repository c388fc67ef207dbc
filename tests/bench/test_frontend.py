"""The benchmark's site, whose tables are in memory, is as ready as a deployed one."""

from bench.frontend import _client, answered_from_memory
from cloudping.settings import load
from frontend import create_app
from tests.frontend.conftest import site_of


def test_its_site_has_everything_that_pages_show() -> None:
    app = create_app(load({}), answered_from_memory(_client()), background=False)
    site_of(app).keeper.refresh()
    assert site_of(app).keeper.snapshot.failure is None
    assert site_of(app).keeper.snapshot.missing == []

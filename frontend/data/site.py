"""What every view needs of the application: its settings and the snapshot of this request."""

from dataclasses import dataclass
from typing import Final, cast

from flask import current_app, g

from cloudping.settings import Settings
from frontend.data.all_pairs import AllPairs
from frontend.data.costly import Costly
from frontend.data.keeper import Keeper
from frontend.data.snapshot import Snapshot
from frontend.data.store import Store

EXTENSION: Final = "cloudping"


@dataclass(frozen=True, slots=True)
class Site:
    """The parts that are made once for an application."""

    settings: Settings
    keeper: Keeper
    store: Store
    all_pairs: AllPairs
    costly: Costly


def site() -> Site:
    return cast(Site, current_app.extensions[EXTENSION])


def snapshot() -> Snapshot:
    """The snapshot of this request: one and the same, even if it is renewed meanwhile."""
    if "snapshot" not in g:
        g.snapshot = site().keeper.snapshot
    return cast(Snapshot, g.snapshot)

"""Looks for changes in the daily figures of all pairs, once a day, and keeps their table."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from cloudping.changes import Change, ChangedPair, ChangeTable, Figure, State, new_id
from cloudping.regions import CATALOGUE, RegionState
from cloudping.runs import LOSS_REASONS, ORIGIN_AWS, ORIGIN_SIMULATED
from cloudping.summaries import HistoryTable

from . import level_shifts, outages
from .events import Episode, Event, Pair, episodes, group

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WINDOW_DAYS: Final = 400  # looked at each day; what began before has been found and stays
STEP_DAYS: Final = 300  # from one window to the next when all of a long history is looked at
FROZEN_DAYS: Final = 30  # at the beginning of a window, where too little of the old level is seen
SETTLED: Final = timedelta(hours=2)  # after midnight, until late runs of a day are in its figures
SAME_DAYS: Final = 3  # by how much a begin may be revised and still be the same event

# The least change: an absolute one, ms, and a share of the level.
LEAST_P50: Final = (1.0, 0.01)
LEAST_P99: Final = (3.0, 0.05)


@dataclass(frozen=True, slots=True)
class Daily:
    """Daily figures of P pairs over D days: arrays P x D, NaN or 0 where there are none."""

    pairs: tuple[Pair, ...]
    first_day: date
    p50: Floats
    p99: Floats
    lost: Ints
    attempted: Ints
    is_simulated: bool


def search(
    history: HistoryTable, table: ChangeTable, states: Iterable[RegionState], now: datetime
) -> dict[str, int] | None:
    """Brings the table up to the last day that is over; None when it was there already.

    Returns counts for the log. Nothing is marked as done before all of it is written, and all of
    it can be repeated: after a kill the next one does the same again.
    """
    until = (now - SETTLED).date() - timedelta(days=1)
    done = table.state()
    if done is not None and done.until >= until:
        return None
    states = list(states)
    begin = min((s.earliest_data.date() for s in states if s.earliest_data), default=until)
    pairs = tuple(
        (source.region.code, target.region.code)
        for source in states
        for target in states
        if source.is_source and target.is_target and source is not target
    )
    counts = {"pairs": len(pairs), "days": 0, "bad_items": 0, "written": 0}
    first_end = until if done is not None else min(begin + timedelta(days=WINDOW_DAYS - 1), until)
    end = first_end
    while True:
        first = max(begin, end - timedelta(days=WINDOW_DAYS - 1))
        daily, bad = read(history, pairs, first, end)
        stored = table.all(first.year, end.year)
        written = revise(stored, events(daily), daily, now)
        table.write(written)
        counts["days"] += (end - first).days + 1
        counts["bad_items"] += bad + len(stored.bad)
        counts["written"] += len(written)
        if end >= until:
            break
        end = min(end + timedelta(days=STEP_DAYS), until)
    table.put_state(State(until, now))
    return counts


def read(
    history: HistoryTable, pairs: Sequence[Pair], first: date, last: date
) -> tuple[Daily, int]:
    """The daily figures of pairs from first to last, both included; and how many were unusable."""
    days = (last - first).days + 1
    p50, p99 = np.full((2, len(pairs), days), np.nan)
    lost, attempted = np.zeros((2, len(pairs), days), np.int64)
    bad, is_simulated = 0, False
    for row, pair in enumerate(pairs):
        found = history.between(*pair, first, last)
        bad += len(found.bad)
        for day in found:
            at, figures = (day.day - first).days, day.figures
            p50[row, at] = figures.percentiles.get(50, np.nan)
            p99[row, at] = figures.percentiles.get(99, np.nan)
            lost[row, at] = sum(figures.failures.get(reason, 0) for reason in LOSS_REASONS)
            attempted[row, at] = figures.samples + lost[row, at]
            is_simulated |= day.origin == ORIGIN_SIMULATED
    return Daily(tuple(pairs), first, p50, p99, lost, attempted, is_simulated), bad


def events(daily: Daily) -> list[tuple[Figure, Event]]:
    """All changes in these days.

    A tail that shifts with the median, on the same pair and day and to the same side, is not told
    twice.
    """
    start = daily.first_day.toordinal()
    medians = list(_shifted(daily.pairs, daily.p50, LEAST_P50, start))
    known = {(e.pair, e.first_day + d, e.step > 0) for e in medians for d in range(-2, 3)}
    tails = [
        episode
        for episode in _shifted(daily.pairs, daily.p99, LEAST_P99, start)
        if (episode.pair, episode.first_day, episode.step > 0) not in known
    ]
    last_column = daily.lost.shape[1] - 1
    losses = [
        Episode(
            daily.pairs[o.series],
            start + o.first,
            None if o.last == last_column else start + o.last,
            o.before_pct,
            o.after_pct,
            o.sigmas,
        )
        for o in outages.find(daily.lost, daily.attempted)
    ]
    by_figure: dict[Figure, list[Episode]] = {"p50": medians, "p99": tails, "loss": losses}
    return [
        (figure, event)
        for figure, found in by_figure.items()
        for event in group(found, daily.pairs, _neighbourhood(daily.pairs))
    ]


def _shifted(
    pairs: Sequence[Pair], values: Floats, least: tuple[float, float], start: int
) -> Iterator[Episode]:
    by_pair: dict[int, list[level_shifts.Shift]] = {}
    for shift in level_shifts.find(values, least_step=least[0], least_share=least[1]):
        by_pair.setdefault(shift.series, []).append(shift)
    for row, shifts in by_pair.items():
        yield from episodes(pairs[row], shifts, start)


def _neighbourhood(pairs: Iterable[Pair]) -> dict[str, str]:
    """The geography of each region; one that the catalogue lacks is by itself."""
    codes = {code for pair in pairs for code in pair}
    return {code: CATALOGUE[code].geography if code in CATALOGUE else code for code in codes}


def revise(
    stored: Iterable[Change], found: Iterable[tuple[Figure, Event]], daily: Daily, now: datetime
) -> list[Change]:
    """What is to be written so that the table says what was found, with the ids that it has.

    A stored event is the same as a found one when both are of one figure, to the same side, began
    within `SAME_DAYS` of each other and share pairs; those that share the most go together. What
    began in these days and was not found again is withdrawn; what is older stays as it is.
    """
    stored = list(stored)
    frozen = daily.first_day + timedelta(days=FROZEN_DAYS)
    drafts = [_draft(figure, event, daily, now) for figure, event in found]
    drafts = [draft for draft in drafts if draft.first_day >= frozen or not stored]
    candidates = sorted(
        (-shared, old.id, draft.id)
        for draft in drafts
        for old in stored
        if (shared := _shared(old, draft))
    )
    same: dict[str, str] = {}  # draft to stored
    for _, old_id, draft_id in candidates:
        if draft_id not in same and old_id not in same.values():
            same[draft_id] = old_id
    by_id = {change.id: change for change in stored}
    written = []
    for draft in drafts:
        old = by_id.get(same.get(draft.id, ""))
        if old is None:
            written.append(draft)  # one with this very id was another event: it is replaced
        elif not (kept := replace(draft, id=old.id, found_at=old.found_at)).says_the_same(old):
            written.append(kept)
    again = set(same.values()) | {change.id for change in written}
    written += [
        replace(old, is_withdrawn=True, updated_at=now)
        for old in stored
        if old.id not in again and old.first_day >= frozen and not old.is_withdrawn
    ]
    return sorted(written, key=lambda change: change.id)


def _draft(figure: Figure, event: Event, daily: Daily, now: datetime) -> Change:
    first_day = date.fromordinal(event.first_day)
    return Change(
        id=new_id(
            first_day, figure, event.episodes[0].step > 0, event.scope.role, event.scope.ends
        ),
        figure=figure,
        role=event.scope.role,
        ends=event.scope.ends,
        measured=event.measured,
        first_day=first_day,
        last_day=None if event.last_day is None else date.fromordinal(event.last_day),
        pairs=tuple(
            ChangedPair(
                *episode.pair,
                first_day=date.fromordinal(episode.first_day),
                last_day=None if episode.last_day is None else date.fromordinal(episode.last_day),
                before=round(episode.before, 3),
                after=round(episode.after, 3),
                sigmas=round(episode.sigmas, 1),
            )
            for episode in event.episodes
        ),
        origin=ORIGIN_SIMULATED if daily.is_simulated else ORIGIN_AWS,
        found_at=now,
        updated_at=now,
    )


def _shared(old: Change, new: Change) -> int:
    """How many pairs two events have in common; 0 where they cannot be the same."""
    near = abs((old.first_day - new.first_day).days) <= SAME_DAYS
    if old.figure != new.figure or not near or old.is_rise != new.is_rise:
        return 0
    return len(_pairs(old) & _pairs(new))


def _pairs(change: Change) -> set[Pair]:
    return {(pair.region_from, pair.region_to) for pair in change.pairs}

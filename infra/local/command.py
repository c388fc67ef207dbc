"""Run the whole pipeline on this machine: local AWS, probes, aggregator, page (`make run`)."""

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import IO, Any

import boto3
from botocore.exceptions import ClientError

from cloudping.errors import CloudPingError
from cloudping.regions import CATALOGUE, Region, RegionState, RegionTable, region
from cloudping.times import utc_now
from infra import ROOT
from infra.aws import chalice, functions, installation, packages, stacks
from infra.aws.installation import AGGREGATOR, PROBES, Installation
from infra.local import history, state, upkeep
from infra.local.server import HOST, Child, LocalError, check_port_free, start_ministack

HOME_REGION = "us-east-2"
# Often, so that a visitor sees figures change: `now` every minute, the timeframes every other.
INSTALLATION = Installation(
    home_region=HOME_REGION,
    environment={
        "PROBE_NETWORK": "simulated",
        "PROBE_INTERVAL_MINUTES": "1",
        "AGGREGATOR_INTERVAL_MINUTES": "2",
        "AGGREGATOR_GRACE_MINUTES": "0",
    },
)
SAVE_EVERY_S = 1800
STOP_S = 120
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARALLEL_DEPLOYMENTS = 17  # each waits 10 s for its function and takes some 75 MB meanwhile

HistoryWriter = Callable[[Any, Sequence[Region], Sequence[Region]], Iterator[tuple[int, int]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8080, help="the page's port (default 8080)")
    parser.add_argument(
        "--aws-port", type=int, default=4566, help="the local AWS's port (default 4566)"
    )
    parser.add_argument(
        "--regions",
        default="all",
        help="regions to measure from and to, by commas; default all: "
        "from the 34 commercial ones to every region of the catalogue",
    )
    parser.add_argument(
        "--no-history",
        action="store_true",
        help="begin with empty tables instead of a simulated year",
    )
    parser.add_argument(
        "--keep-everything",
        action="store_true",
        help="delete no old runs and logs; the memory grows by 5 MB a minute",
    )
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".local", help="where the data are kept"
    )


def run(args: argparse.Namespace) -> int:
    sources, targets = chosen_regions(args.regions)
    folder = args.folder.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_one(folder) as lock:
            check_port_free(args.port, "PORT")
            check_port_free(args.aws_port, "AWS_PORT")
            if args.port == args.aws_port:
                raise LocalError(f"PORT and AWS_PORT are both {args.port}; choose two")
            stop = Event()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: stop.set())
            history, tidy = not args.no_history, not args.keep_everything
            ports = args.port, args.aws_port
            Stack(folder, *ports, sources, targets, stop, history, tidy, lock).run()
    except OSError as error:  # a full disk, a folder that is a file or may not be written
        raise LocalError(
            f"{error.filename or folder}: {error.strerror or error}; the data are in {folder}, "
            "which has to be a folder that can be written, with 500 MB to spare"
        ) from error
    return 0


def chosen_regions(text: str) -> tuple[list[Region], list[Region]]:
    """(sources, targets) for REGIONS=; raises UnknownRegionError."""
    if text == "all":
        return [r for r in CATALOGUE.values() if r.partition == "aws"], list(CATALOGUE.values())
    named = [region(code.strip()) for code in text.split(",") if code.strip()]
    if not named:
        raise LocalError(f"REGIONS={text!r} names no region; write e.g. us-east-1,eu-west-1")
    return named, named


@contextmanager
def only_one(folder: Path, wait_s: float = 120) -> Iterator[int]:
    """Holds the folder for this process; two stacks on the same data would lose some of it.

    Gives the open file that holds it, for MiniStack: after a kill -9 of this process, that goes on
    until it has saved its state, and a new start waits so long.
    """
    with (folder / "lock").open("a+") as lock:
        deadline = time.monotonic() + wait_s
        said = False
        while not _locked(lock):
            lock.seek(0)
            holder = lock.read().strip()
            if _is_running(holder):
                raise LocalError(f"another `make run` (pid {holder}) uses {folder}; stop it first")
            if time.monotonic() > deadline:
                raise LocalError(f"{folder / 'lock'} is still held by what an earlier run left; "
                                 "`lsof` on it names the process")  # fmt: skip
            if not said:
                print("an earlier run was killed; waiting until it has saved its data", flush=True)
                said = True
            time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield lock.fileno()


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


class Stopped(Exception):
    """The stack was asked to stop while it was coming up."""


class Stack:
    """The local pipeline from start to stop; `run` returns when it was asked to stop."""

    def __init__(
        self,
        folder: Path,
        port: int,
        aws_port: int,
        sources: list[Region],
        targets: list[Region],
        stop: Event,
        with_history: bool = True,
        tidies: bool = True,
        lock: int | None = None,
    ) -> None:
        self.folder, self.port, self.aws_port = folder, port, aws_port
        self.sources, self.targets = sources, targets
        self.stop, self.with_history, self.tidies = stop, with_history, tidies
        self._keep = () if lock is None else (lock,)
        self._began = time.monotonic()
        self._children: list[Child] = []

    def run(self) -> None:
        page = f"http://{HOST}:{self.port}/"
        self._say("starting; Ctrl-C stops everything and keeps the data")
        with ExitStack() as ending:
            try:
                self._start_aws(ending)
                self._start_frontend(ending)
                self._say(f"the page is up: {page} (what follows fills it)")
                self._write_history("the last day, simulated", history.write_day)
                self._fill_and_deploy()
                self._say(f"everything is in place: {page}, new figures every minute")
                self._keep_running()
            except Stopped:
                pass
            self._say("stopping; saving the data")
        self._say("stopped; the data are kept")

    def _keep_running(self) -> None:
        """Returns when it is asked to stop; meanwhile the local AWS is kept small, and saved."""
        self._save()
        tidy_at, save_at = (time.monotonic() + s for s in (upkeep.EVERY_S, SAVE_EVERY_S))
        while not self.stop.wait(1):
            self._check()
            if time.monotonic() >= tidy_at:
                tidy_at += upkeep.EVERY_S
                if self.tidies:
                    upkeep.tidy(self._session, HOME_REGION, self.sources, self.targets, utc_now())
                for child in self._children:
                    child.trim_log()
            if time.monotonic() >= save_at:
                save_at += SAVE_EVERY_S
                if self._saving > (state.saved_at(self.folder) or EPOCH):
                    self._say(f"the data could not be saved: {self._why_unsaved()}")
                self._save()

    def _save(self) -> None:
        self._saving = utc_now()
        self._aws.signal(signal.SIGUSR1)

    def _why_unsaved(self) -> str:
        return self._aws.said("failed to save") or f"see {self._aws.log}"

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:5.1f} s] {text}", flush=True)

    def _check(self) -> None:
        """Raises when somebody wants to stop or a server has ended."""
        if self.stop.is_set():
            raise Stopped
        for child in self._children:
            child.check_alive()

    def _start_aws(self, ending: ExitStack) -> None:
        ending.callback(shutil.rmtree, self.folder / "tmp", ignore_errors=True)
        state.discard_unfinished(self.folder)
        was_there = state.is_there(self.folder)
        self._launch_aws()
        ending.callback(self._stop_aws)
        try:
            if self._aws.said("to load"):  # "failed to load" or "refusing to load", says MiniStack
                raise LocalError(self._aws.said("to load"))
            self._create_tables()
        except (CloudPingError, ClientError):
            if not was_there:
                raise
            self._aws.kill()  # it would save what it made of the broken files
            aside = state.set_aside(self.folder)
            self._say(f"the data of an earlier run cannot be read; they are in {aside} now, "
                      "and this run starts anew")  # fmt: skip
            self._launch_aws()
            self._create_tables()

    def _launch_aws(self) -> None:
        self._aws = start_ministack(self.folder, self.aws_port, HOME_REGION, self._keep)
        self._children = [self._aws]
        # What follows in this process and its children goes to the local AWS and nowhere else.
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.aws_port}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        self._session = boto3.Session()
        self._say(f"local AWS (MiniStack) on http://{HOST}:{self.aws_port}")

    def _stop_aws(self) -> None:
        """Stops it, which saves the data; raises LocalError when they were not."""
        asked_at, code = utc_now(), self._aws.code
        self._aws.stop(STOP_S)
        saved_at = state.saved_at(self.folder)
        if saved_at is None or saved_at < asked_at:
            kept = f"those of {saved_at:%d %B %H:%M} UTC are kept" if saved_at else "none are kept"
            why = self._why_unsaved() if code is None else f"MiniStack had ended with code {code}"
            raise LocalError(f"the data could not be saved, {kept}: {why}")

    def _client(self, service: str) -> Any:
        return self._session.client(service, region_name=HOME_REGION)

    def _create_tables(self) -> None:
        outcome = stacks.apply(
            self._client("cloudformation"),
            "cloudping-tables",
            ROOT / "infra" / "templates" / "tables.yaml",
            {"Prefix": "", "DeletionProtection": "false"},
        )
        client = self._client("dynamodb")
        table = RegionTable(client)
        known = {state.region.code: state for state in table.all()}
        for place in CATALOGUE.values():
            before = known.get(place.code)
            state = RegionState(
                region=place,
                is_source=place in self.sources,
                is_target=place in self.targets,
                interval_s=60 if place in self.sources else 0,
                opt_in_status="simulated",
                earliest_data=before.earliest_data if before else None,
                latest_data=before.latest_data if before else None,
            )
            if state != before:
                table.put(state)
        self._say(f"tables {outcome}")

    def _start_frontend(self, ending: ExitStack) -> None:
        log = self.folder / "logs" / "frontend.log"
        environment = {
            **os.environ,
            "HOST": HOST,
            "PORT": str(self.port),
            "CLOUDPING_HOME_REGION": HOME_REGION,
            "FRONTEND_REFRESH_SECONDS": "10",
        }
        command = [
            str(Path(sys.executable).with_name("gunicorn")),
            f"--config={ROOT / 'frontend' / 'serving' / 'gunicorn.conf.py'}",
            f"--chdir={ROOT}",
            "frontend:create_app()",
        ]
        frontend = Child("the front end", command, environment, log)
        ending.callback(frontend.stop, 5)
        self._children.append(frontend)
        frontend.wait_until_up(f"http://{HOST}:{self.port}/healthz", 30)

    def _write_history(self, what: str, write: HistoryWriter) -> None:
        if not self.with_history:
            return
        for done, total in write(self._client("dynamodb"), self.sources, self.targets):
            self._check()
            self._progress(what, done, total)

    def _fill_and_deploy(self) -> None:
        """Deploys the probes meanwhile: for most of it Chalice only waits.

        The aggregator comes last, so that nobody else writes figures.
        """
        with ThreadPoolExecutor(2) as pool:
            try:
                probes = pool.submit(self._deploy_app, PROBES, [p.code for p in self.sources])
                self._write_history("all timeframes, simulated", history.write_year)
                package = pool.submit(self._package, AGGREGATOR)
                self._write_history("daily figures of a year, simulated", history.write_days)
                self._await(package)
                self._deploy_app(AGGREGATOR, [HOME_REGION])
                self._await(probes)
            except BaseException:
                self.stop.set()  # the other thread looks at it
                raise

    def _await(self, future: Future[Any]) -> None:
        while not future.done():
            self._check()
            time.sleep(0.1)
        future.result()

    def _package(self, app: installation.App) -> Path:
        return packages.build_if_changed(app, INSTALLATION, self.folder / "build" / app.name)

    def _deploy_app(self, app: installation.App, stages: list[str]) -> None:
        zip_file = self._package(app)
        session = boto3.Session()  # one is for one thread
        outdated = [
            stage
            for stage in stages
            if not functions.is_current(app, INSTALLATION, stage, zip_file, session)
        ]
        if not outdated:
            self._say(f"{app.name}: deployed before, unchanged")
            return
        project = self.folder / "build" / app.name
        deployed = chalice.deploy_all(app, project, outdated, PARALLEL_DEPLOYMENTS)
        for done, (stage, error) in enumerate(deployed, 1):
            self._check()
            if error is not None:
                raise error
            self._progress(f"chalice deploy, {app.name} ({stage})", done, len(outdated))

    def _progress(self, what: str, done: int, total: int) -> None:
        if done == total or done % 5 == 0:
            self._say(f"{what}: {done} of {total}")

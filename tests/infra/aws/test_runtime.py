"""The zips in Lambda's own runtime: its client against a Runtime API on loopback.

Nothing is beside the zip but what Lambda has: awslambdaric and boto3. On each Python that is
offered, as far as this machine has it.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from cloudping.buckets import DistributionTable
from cloudping.regions import CATALOGUE, RegionTable
from cloudping.runs import RunTable
from cloudping.times import utc_now
from infra import TEMPLATES
from infra.aws import stacks
from infra.aws.installation import APPS, PROBES, App, Installation, config
from tests.conftest import HOME_REGION, ROOT, scheduled_event
from tests.infra import ministack

pytestmark = pytest.mark.slow

# https://pypi.org/project/awslambdaric: what AWS's own images for Python start.
RUNTIME_CLIENT = "awslambdaric==4.2.2"
PYTHONS = ("3.11", "3.12", "3.13")
INSTALLATION = Installation(environment=ministack.FAST)
BUILD = """
import sys
from pathlib import Path
from infra.aws import packages
from infra.aws.installation import APPS, Installation
print(packages.build(APPS[sys.argv[1]], Installation(), Path(sys.argv[2])))
"""


def interpreter(version: str) -> Path:
    """A Python of that version which can make environments; skips where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python{version}")]
    for candidate in found:
        command = [str(candidate), "-c", "import ensurepip, ssl"]
        if candidate and subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return Path(candidate)
    pytest.skip(f"no Python {version} on this machine")


def run(*command: str | Path, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def environment(python: Path, folder: Path, *packages: str | Path) -> Path:
    """A virtual environment of its own with some packages; returns its interpreter."""
    run(python, "-m", "venv", folder)
    own = folder / "bin" / "python"
    run(own, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)
    return own


def locked(name: str) -> str:
    found = re.search(rf"^{name}==([\w.]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert found, f"{name} is not locked"
    return f"{name}=={found[1]}"


@pytest.fixture(scope="module", params=PYTHONS)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Path]]:
    """(an interpreter that has what Lambda has, each app's zip unpacked), made by that Python."""
    python = interpreter(request.param)
    folder = tmp_path_factory.mktemp(f"python{request.param}")
    builder = environment(
        python, folder / "builder", locked("chalice"), locked("boto3"),
        "-r", ROOT / "aggregator" / "requirements.txt",
    )  # fmt: skip
    unpacked = {}
    for name in APPS:
        said = run(
            builder, "-c", BUILD, name, folder / name,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        unpacked[name] = folder / f"{name}-unpacked"
        with zipfile.ZipFile(said.strip().splitlines()[-1]) as content:
            content.extractall(unpacked[name])
    return environment(python, folder / "lambda", RUNTIME_CLIENT, locked("boto3")), unpacked


class RuntimeApi(BaseHTTPRequestHandler):
    """docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, for one invocation."""

    protocol_version = "HTTP/1.1"
    event: bytes
    arn: str
    answers: "Queue[tuple[str, Any]]"
    asked: threading.Event

    def do_GET(self) -> None:
        assert self.path == "/2018-06-01/runtime/invocation/next"
        if self.asked.is_set():  # Lambda freezes the function here
            self.close_connection = True
            return
        self.asked.set()
        deadline = int((utc_now() + timedelta(minutes=1)).timestamp() * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "Lambda-Runtime-Deadline-Ms": str(deadline),
            "Lambda-Runtime-Invoked-Function-Arn": self.arn,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
        }
        self._answer(200, self.event, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        self.answers.put((self.path.rpartition("/")[2], json.loads(body or b"null")))
        self._answer(202, b"{}", {})

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (length | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing: pytest shows what matters."""


@contextmanager
def runtime_api(event: Mapping[str, Any], arn: str) -> Iterator[tuple[str, "Queue[Any]"]]:
    answers: Queue[Any] = Queue()
    handler = type(
        "Handler",
        (RuntimeApi,),
        {
            "event": json.dumps(event).encode(),
            "arn": arn,
            "answers": answers,
            "asked": threading.Event(),
        },
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", answers
        finally:
            server.shutdown()
            thread.join()


def invoke(app: App, stage: str, python: Path, code: Path, aws: Mapping[str, str]) -> Any:
    """One scheduled event through Lambda's runtime client; the function's answer."""
    wanted = config(app, INSTALLATION, [stage])
    variables = {
        **wanted["environment_variables"],
        **wanted["stages"][stage].get("environment_variables", {}),
    }
    name = INSTALLATION.function_name(app, stage)
    arn = f"arn:aws:lambda:{stage}:111111111111:function:{name}"
    with runtime_api(scheduled_event(stage, utc_now(), {}), arn) as (address, answers):
        process = subprocess.Popen(
            [python, "-I", "-c", _START.format(code=str(code)), f"app.{app.function}"],
            cwd=code,
            env={
                **{key: value for key, value in aws.items() if key.startswith("AWS_")},
                **variables,
                "PATH": os.environ["PATH"],
                "AWS_REGION": stage,
                "AWS_DEFAULT_REGION": stage,
                "AWS_LAMBDA_RUNTIME_API": address,
                "AWS_LAMBDA_FUNCTION_NAME": name,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(app.memory_mb),
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "LAMBDA_TASK_ROOT": str(code),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            kind, answer = first(answers, process)
        finally:
            process.kill()
            said = process.communicate()[0]
    assert kind == "response", (answer, said)
    return answer


def first(answers: "Queue[Any]", process: "subprocess.Popen[str]") -> tuple[str, Any]:
    """What the function posts first; ("nothing", …) when it ended or took its time without it."""
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(Empty):
            return tuple(answers.get(timeout=0.2))
    return ("nothing", process.poll()) if answers.empty() else answers.get()


# As AWS's image does it (`python -m awslambdaric HANDLER`), without the user's site-packages.
_START = """
import sys
sys.path.insert(0, {code!r})
from awslambdaric.__main__ import main
main(sys.argv)
"""


def test_all_three_functions_work_in_lambdas_runtime(
    built: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    python, code = built
    source = "eu-west-1"
    with ministack.local_aws(tmp_path) as aws:
        formation = ministack.client(aws, "cloudformation")
        for template in ("tables", "operations"):
            stacks.apply(
                formation, f"cloudping-{template}", TEMPLATES / f"{template}.yaml", {"Prefix": ""}
            )
        dynamodb = ministack.client(aws, "dynamodb")

        watched = invoke(APPS["watch"], HOME_REGION, python, code["watch"], aws)
        assert {state.region.code for state in RegionTable(dynamodb).all()} >= set(CATALOGUE)
        assert watched

        RegionTable(dynamodb).note_source(source, 60)
        invoke(PROBES, source, python, code["probes"], aws)
        written = RunTable(dynamodb).latest(source, utc_now())
        assert written is not None
        assert set(written.results) == set(CATALOGUE)

        invoke(APPS["aggregator"], HOME_REGION, python, code["aggregator"], aws)
        assert DistributionTable(dynamodb).checkpoint(source) is not None

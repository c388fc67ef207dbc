"""A proxy between AWS's clients and the local AWS that does to requests what a network may do."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

HEALTHY = "passed on"
DELAYED = "delayed"  # by up to DELAY_S, then passed on
CUT = "cut"  # the connection is closed before the request is passed on
ANSWER_LOST = "answer lost"  # passed on and done, then the connection is closed
SERVER_ERROR = "500"
THROTTLED = "throttled"
UNPROCESSED = "partly unprocessed"  # half of a written batch is passed on, the rest handed back
NO_ANSWER = "no answer"  # taken, and never answered
KILLED_BEFORE = "killed before its write was done"
KILLED_AFTER = "killed after its write was done"
KILLED = (KILLED_BEFORE, KILLED_AFTER)
FAULTS = (DELAYED, CUT, ANSWER_LOST, SERVER_ERROR, THROTTLED)  # that any request may meet

DELAY_S = 4.0
HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
_ERRORS = {
    SERVER_ERROR: (500, "InternalServerError", "injected"),
    THROTTLED: (400, "ProvisionedThroughputExceededException", "injected"),
}


class FaultProxy:
    """Listens on 127.0.0.1 and passes requests to a port there, with a fault where `choose` says.

    `choose` gets the operation (`DynamoDB_20120810.PutItem`) and gives HEALTHY or a fault;
    `kill` gets the body of the request whose client is to be killed. `counts` says how often each
    fault was met. To be used as a context.
    """

    def __init__(
        self,
        to_port: int,
        choose: Callable[[str], str],
        kill: Callable[[bytes], None] = lambda body: None,
        seed: int = 0,
    ) -> None:
        self.to_port, self.choose, self.kill = to_port, choose, kill
        self.counts: Counter[str] = Counter()
        self.rng = random.Random(seed)  # noqa: S311 - faults, no secrets
        self.lock = Lock()
        self.ended = Event()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FaultProxy":
        Thread(target=self._server.serve_forever, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def log_message(self, format: str, *args: Any) -> None:
        """Counts are enough."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with self.proxy.lock:
            fault = self.proxy.choose(self.headers.get("X-Amz-Target", ""))
            delay_s = self.proxy.rng.uniform(0, DELAY_S)
            self.proxy.counts[fault] += 1
        if fault == DELAYED:
            time.sleep(delay_s)
        elif fault == NO_ANSWER:
            self.proxy.ended.wait(60)
        elif fault in KILLED:
            if fault == KILLED_AFTER:
                self._pass_on(body)
            self.proxy.kill(body)
        if fault in (CUT, NO_ANSWER, *KILLED):
            self.close_connection = True
        elif fault in _ERRORS:
            status, code, message = _ERRORS[fault]
            answer = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
            self._answer(status, {"Content-Type": "application/x-amz-json-1.0"}, _json(answer))
        else:
            left: dict[str, Any] = {}
            if fault == UNPROCESSED:
                body, left = _halved(body)
            status, headers, answered = self._pass_on(body)
            if fault == ANSWER_LOST:
                self.close_connection = True
                return
            if left:
                answered = _json({**json.loads(answered), "UnprocessedItems": left})
                headers = {n: v for n, v in headers.items() if n.lower() != "x-amz-crc32"}
            self._answer(status, headers, answered)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.proxy.to_port, timeout=60)
        try:
            headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            kept = {n: v for n, v in answer.getheaders() if n.lower() not in HOP_BY_HOP}
            return answer.status, kept, answer.read()
        except (OSError, HTTPException) as error:
            return 502, {}, str(error).encode()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _halved(body: bytes) -> tuple[bytes, dict[str, Any]]:
    """A BatchWriteItem with the first half of its requests, and the other half."""
    content = json.loads(body)
    left = {}
    for table, requests in content["RequestItems"].items():
        half = (len(requests) + 1) // 2
        content["RequestItems"][table] = requests[:half]
        if requests[half:]:
            left[table] = requests[half:]
    return _json(content), left


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()

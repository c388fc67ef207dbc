"""gunicorn's threaded worker, hardened: a thread serves whole requests and waits for no client.

gthread lends a thread to a connection while its request trickles in and while its answer trickles
out, and its main loop waits up to 2 s for a client to close: a handful of slow clients take all of
a worker (tests/frontend/test_worker.py). Here the main loop takes in the head of a request and
sends what the client did not take at once, all of it with deadlines; bodies are not read, since no
address takes any. Requests that would wait too long for a thread are turned away with 503.
"""

import errno
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Final

from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker
from werkzeug.http import HTTP_STATUS_CODES

from frontend.serving.refusals import refusal

HEAD_S: Final = 10.0  # for a request's head to come
SEND_S: Final = 30.0  # for an answer to be taken
CLOSE_S: Final = 2.0  # for a client to close, so that it sees the whole answer
MAX_HEAD: Final = 16 * 2**10
MAX_SURPLUS: Final = 64 * 2**10  # of a body that nobody reads, before the connection is cut
# More than any page or answer of the API; only a download is longer, and waits on its thread.
MAX_UNSENT: Final = 2 * 2**20
MAX_UNSENT_TOTAL: Final = 64 * 2**20
# The oldest request without a thread has waited this long: those that come now would wait longer.
MAX_WAIT_S: Final = 0.5
RETRY_AFTER_S: Final = 2
# The load balancer replaces a task that does not answer these.
NEVER_SHED: Final = (b"GET /healthz ", b"GET /readyz ")


class Socket(socket.socket):
    """A client's socket; what it does not take at once is kept in `unsent`, up to MAX_UNSENT."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        self.unsent = bytearray()

    def push(self, data: Any) -> int:
        """Sends what the client takes now; how many bytes that were."""
        try:
            return self.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Keeps the rest; waits for the client only beyond MAX_UNSENT, and not for ever."""
        sent = 0 if self.unsent else self.push(data)
        self.unsent += memoryview(data)[sent:]
        while len(self.unsent) > MAX_UNSENT:
            ready = select.poll()
            ready.register(self, select.POLLOUT)
            if not ready.poll(1000 * SEND_S):
                raise ConnectionResetError(errno.ECONNRESET, "the client does not take its answer")
            del self.unsent[: self.push(self.unsent)]


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection with what the main loop knows of it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.head = b""
        self.ready = 0.0  # when its head was whole
        self.keep = False
        self.surplus = 0


class Worker(ThreadWorker):  # type: ignore[misc]
    """`worker_class` of gunicorn.conf.py. All but `handle…` runs on the main loop's thread.

    Every connection is in one state: among `keepalived_conns` (gunicorn's own), among
    `pending_conns` (waiting for the client, until a deadline), or with a thread.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: deque[float] = deque()  # when the requests without a thread became ready
        self._next_look = 0.0

    def accept(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        if self.nr_conns + 1 >= self.worker_connections:
            self._make_room()
        self.nr_conns += 1
        conn = Connection(self.cfg, Socket(accepted), address, listener.getsockname())
        self._admit(conn)

    def _again(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.keepalived_conns.remove(conn)
        self._admit(conn)

    def _admit(self, conn: Connection) -> None:
        """A request begins: a thread when its head is there already, else a deadline for it."""
        match self._take(conn):
            case True:
                self._start(conn)
            case False:
                self._hold(conn, EVENT_READ, self._more, HEAD_S)
            case None:
                self._drop(conn)

    def _more(self, conn: Connection) -> None:
        whole = self._take(conn)
        if whole is not False:
            self._release(conn)
            if whole:
                self._start(conn)
            else:
                self._drop(conn)

    def _take(self, conn: Connection) -> bool | None:
        """Takes what has come: True when the head is whole, False if not, None at the end."""
        data = _received(conn)
        if data == b"":
            return None
        conn.head = (conn.head + (data or b"")).lstrip(b"\r\n")  # empty lines: RFC 9112, 2.2
        return b"\r\n\r\n" in conn.head or len(conn.head) >= MAX_HEAD

    def _start(self, conn: Connection) -> None:
        now = time.monotonic()
        if conn.head.find(b"\r\n\r\n", 0, MAX_HEAD) < 0:
            self._refuse(conn, 431, f"Address and headers together may have {MAX_HEAD} bytes.")
        elif (
            self._waiting
            and now - self._waiting[0] > MAX_WAIT_S
            and not conn.head.startswith(NEVER_SHED)
        ):
            message = "Too many requests at this moment; please try again in a few seconds."
            self._refuse(conn, 503, message, RETRY_AFTER_S)
        else:
            conn.init()
            conn.parser.unreader.unread(conn.head)
            conn.head, conn.ready = b"", now
            self._waiting.append(now)
            self.enqueue_req(conn)

    def handle(self, conn: Connection) -> Any:
        self._waiting.popleft()
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        if any(
            name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and value != "0")
            for name, value in req.headers
        ):
            req.force_close()  # or gunicorn would wait here for the rest of the body
        return super().handle_request(req, conn)

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        conn.keep = not fs.cancelled() and fs.exception() is None and fs.result() is True
        if conn.sock.fileno() < 0:  # an answer broke off, and gunicorn has closed already
            self.nr_conns -= 1
            return
        conn.sock.setblocking(False)
        if conn.sock.unsent:
            self._hold(conn, EVENT_WRITE, self._flush, SEND_S)
            if sum(len(c.sock.unsent) for c in self.pending_conns) > MAX_UNSENT_TOTAL:
                self._forget(conn)
        else:
            self._answered(conn)

    def _flush(self, conn: Connection) -> None:
        try:
            del conn.sock.unsent[: conn.sock.push(conn.sock.unsent)]
        except OSError:
            self._forget(conn)
            return
        if not conn.sock.unsent:
            self._release(conn)
            self._answered(conn)

    def _answered(self, conn: Connection) -> None:
        if not conn.keep:
            self._part(conn)
            return
        conn.head = conn.parser.unreader.take_buffered()
        if conn.head:  # the next request came with the last one
            self._admit(conn)
            return
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        self._watch(conn, EVENT_READ, self._again)

    def _refuse(self, conn: Connection, code: int, message: str, retry_after_s: int = 0) -> None:
        """Answers without a thread; then the connection ends."""
        _, path, *_ = (*conn.head.split(b" ", 2), b"", b"")
        headers, body = refusal(path.decode("latin-1"), code, message, retry_after_s)
        lines = [f"HTTP/1.1 {code} {HTTP_STATUS_CODES[code]}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            conn.sock.push("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        except OSError:
            self._drop(conn)
        else:
            self._part(conn)

    def _part(self, conn: Connection) -> None:
        """Ends our side and waits for the client's: closing at once could cut off the answer."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._drop(conn)
        else:
            self._hold(conn, EVENT_READ, self._drain, CLOSE_S)

    def _drain(self, conn: Connection) -> None:
        data = _received(conn)
        conn.surplus += len(data or b"")
        if data == b"" or conn.surplus > MAX_SURPLUS:
            self._forget(conn)

    def _hold(
        self,
        conn: Connection,
        event: int,
        then: Callable[[Connection], None],
        seconds: float,
    ) -> None:
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + seconds
        self.pending_conns.append(conn)
        self._watch(conn, event, then)

    def _watch(self, conn: Connection, event: int, then: Callable[[Connection], None]) -> None:
        def happened(_: Any) -> None:
            if conn.sock.fileno() >= 0:  # else it was closed since the loop last looked
                then(conn)

        self.poller.register(conn.sock, event, happened)

    def _release(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _forget(self, conn: Connection) -> None:
        self._release(conn)
        self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _make_room(self) -> None:
        """Ends the connection that has kept us waiting longest, else the longest idle one."""
        if self.pending_conns:
            self._forget(self.pending_conns[0])
        elif self.keepalived_conns:
            conn = self.keepalived_conns.popleft()
            self.poller.unregister(conn.sock)
            self._drop(conn)

    def murder_pending(self) -> None:
        """gunicorn calls it after each turn of the loop; deadlines differ, so all are looked at."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            for conn in list(self.pending_conns):
                unused = conn.parser is None and not conn.head
                if conn.timeout < now or (unused and not self.alive):
                    self._forget(conn)


def _received(conn: Connection) -> bytes | None:
    """What has come; None when nothing has yet, empty when the client is gone."""
    try:
        return bytes(conn.sock.recv(MAX_HEAD))
    except BlockingIOError:
        return None
    except OSError:
        return b""

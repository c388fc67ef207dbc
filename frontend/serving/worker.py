"""gunicorn's threaded worker, hardened: no client is waited for, and none has more than its share.

gthread lends a thread to a connection while its request trickles in and while its answer trickles
out, and serves in the order of arrival: a few slow clients, or one that asks over many connections,
have all of it (docs/frontend.md has what was measured, of other servers too). Here the main loop
takes in the head of a request and sends what the client did not take at once, with deadlines;
threads are lent to whole requests only, by turns of the clients. Bodies are not read, since no
address takes any.
"""

import errno
import os
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Final

from gunicorn.http import errors
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker
from werkzeug.http import HTTP_STATUS_CODES

from frontend.serving.clients import client, origin
from frontend.serving.refusals import refusal

HEAD_S: Final = 10.0  # for a request's head to come
SEND_S: Final = 30.0  # for an answer to be taken, or the first of it
SEND_RATE: Final = 64 * 2**10  # bytes a second at which the rest of a longer one has to be taken
CLOSE_S: Final = 2.0  # for a client to close, so that it sees the whole answer
MAX_HEAD: Final = 16 * 2**10
MAX_SURPLUS: Final = 64 * 2**10  # of a body that nobody reads, before the connection is cut
# More than any page or answer of the API; only a download is longer, and waits on its thread.
MAX_UNSENT: Final = 2 * 2**20
MAX_UNSENT_TOTAL: Final = 64 * 2**20
# Linux would take some 2.5 MB of each answer that nobody reads, where these limits do not see it.
KERNEL_BUFFER: Final = 64 * 2**10

ACCEPTED_AT_ONCE: Final = 64
# Of one client, where its connections are its own and not a load balancer's. A browser has six.
MAX_CONNECTIONS: Final = 64
MAX_RUNNING: Final = 4  # threads that one client has at a time
MAX_WAITING: Final = 32  # requests of one client that wait for a thread
# A client's request beyond these, or beyond its limit (429), is refused this much later, so that
# asking again at once, over however many connections, costs the others nothing.
REFUSED_AFTER_S: Final = 1.0
# The client whose turn it is has waited this long: requests that come now would wait longer.
MAX_WAIT_S: Final = 0.5
RETRY_AFTER_S: Final = 2
# The load balancer replaces a task that does not answer these: they have threads of their own.
HEALTH: Final = re.compile(rb"GET /(healthz|readyz)[? ]")
HEALTH_THREADS: Final = 2

BROKEN: Final = "Something went wrong here; the log has the details."
REQUEST_LINE: Final = re.compile(rb"[A-Z][!-~]* [!-~]+ HTTP/1\.[01]\r\n")
FORWARDED: Final = re.compile(rb"^x-forwarded-for:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
REFUSALS: Final = (
    ((errors.InvalidResponseHeader, errors.InvalidResponseHeaderName), 500, BROKEN),
    (errors.LimitRequestLine, 414, "The request line is too long."),
    (errors.LimitRequestHeaders, 431, "The headers are too many or too long."),
    (errors.ExpectationFailed, 417, "Only 100-continue can be expected."),
    (errors.UnsupportedTransferCoding, 501, "No transfer coding but chunked is known here."),
    (errors.ParseException, 400, "This is no valid HTTP request."),
)


class Socket(socket.socket):
    """A client's socket; what it does not take at once is kept in `unsent`, up to MAX_UNSENT."""

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(fileno=accepted.detach())
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        self.unsent = bytearray()
        self.begin(b"")

    def begin(self, path: bytes) -> None:
        """A new answer: to `path`, with the whole of its time."""
        self.path = path.decode("latin-1")
        self._has_begun = self.is_refusal = False
        self._waited_s, self._taken = 0.0, 0

    def push(self, data: Any) -> int:
        """Sends what the client takes now; how many bytes that were."""
        try:
            sent = self.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        self._taken += sent
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Keeps the rest; waits for the client only beyond MAX_UNSENT, and not for ever.

        An answer that the client has asked too often is all kept: the main loop sends it later.
        """
        if not self._has_begun:
            self._has_begun = True
            self.is_refusal = bytes(data[9:12]) == b"429"  # of "HTTP/1.1 429"
        sent = 0 if self.unsent or self.is_refusal else self.push(data)
        self.unsent += memoryview(data)[sent:]
        while len(self.unsent) > MAX_UNSENT:
            left_s = SEND_S + self._taken / SEND_RATE - self._waited_s
            ready = select.poll()
            ready.register(self, select.POLLOUT)
            begun = time.monotonic()
            if left_s <= 0 or not ready.poll(1000 * left_s):
                raise ConnectionResetError(errno.ECONNRESET, "the client does not take its answer")
            self._waited_s += time.monotonic() - begun
            del self.unsent[: self.push(self.unsent)]


@dataclass(eq=False, slots=True)
class Client:
    """What the worker holds for one client: its connections, and its requests without a thread."""

    connections: "dict[Connection, None]" = field(default_factory=dict)  # in order of arrival
    waiting: "deque[Connection]" = field(default_factory=deque)
    running: int = 0

    @property
    def unsent(self) -> int:
        return sum(len(conn.sock.unsent) for conn in self.connections)


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection with what the main loop knows of it.

    It counts as its peer's; while there is a request, as the client's behind our proxies.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.peer = self.who = client(self.client[0])
        self.head = b""
        self.fault: tuple[int, str] | None = None
        self.is_health = False
        self.keep = False
        self.surplus = 0
        self.watched = self.idle = False
        self.at_end: Callable[[Connection], None] | None = None


class Worker(ThreadWorker):  # type: ignore[misc]
    """`worker_class` of gunicorn.conf.py. All but `handle…` runs on the main loop's thread.

    Every connection is in one state: among `keepalived_conns` (gunicorn's own), among `_held`
    (waiting for the client or for the time of a refusal, until a deadline), among the `waiting` of
    its client, or with a thread.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proxies = int(os.environ.get("FRONTEND_PROXIES") or 0)
        self._clients: dict[str, Client] = {}
        self._held: dict[Connection, None] = {}
        self._turns: dict[Client, float] = {}  # who may have a thread next, and since when
        self._running = self._health_running = 0
        self._next_look = 0.0

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.cfg.threads + HEALTH_THREADS)

    # Connections come and go.

    def accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                accepted, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            conn = Connection(self.cfg, Socket(accepted), address, listener.getsockname())
            self.nr_conns += 1
            if self._has_place(conn):
                self._enter(conn, conn.peer)
                self._admit(conn)
            else:
                self.nr_conns -= 1
                conn.close()

    def _has_place(self, conn: Connection) -> bool:
        """Whether there is one, perhaps made by ending another connection of the same client, or
        of the one that has most."""
        own = self._clients.get(conn.peer)
        if not self._proxies and own is not None and len(own.connections) >= MAX_CONNECTIONS:
            return self._make_room(own, unasked=True)
        if self.nr_conns < self.worker_connections:
            return True
        return self._make_room(max(self._clients.values(), key=lambda c: len(c.connections)))

    def _make_room(self, of: Client, unasked: bool = False) -> bool:
        """Ends the client's connection that has kept us waiting longest, or idled; or, if it may be
        one that has asked, the one whose request came last. False if threads have them all."""
        for conn in of.connections:
            if conn.idle or conn in self._held:
                self._forget(conn)
                return True
        if unasked or not of.waiting:
            return False
        conn = of.waiting.pop()
        if not of.waiting:
            self._turns.pop(of, None)
        self._drop(conn)
        return True

    def _enter(self, conn: Connection, who: str) -> None:
        conn.who = who
        self._clients.setdefault(who, Client()).connections[conn] = None

    def _leave(self, conn: Connection) -> None:
        own = self._clients[conn.who]
        del own.connections[conn]
        if not own.connections:
            del self._clients[conn.who]
            self._turns.pop(own, None)

    def _counts_as(self, conn: Connection, who: str) -> None:
        if who != conn.who:
            self._leave(conn)
            self._enter(conn, who)

    def _drop(self, conn: Connection) -> None:
        self._leave(conn)
        self.nr_conns -= 1
        conn.close()

    # A request comes in.

    def _again(self, conn: Connection) -> None:
        self._unwatch(conn)
        self._not_idle(conn)
        self._admit(conn)

    def _admit(self, conn: Connection) -> None:
        """A request begins: a thread when its head is there already, else a deadline for it."""
        match self._take(conn):
            case True:
                self._start(conn)
            case False:
                self._hold(conn, EVENT_READ, self._more, HEAD_S, self._too_slow)
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

    def _too_slow(self, conn: Connection) -> None:
        self._release(conn)
        if conn.head:
            self._refuse(conn, 408, f"No whole request came within {HEAD_S:.0f} s.")
        else:
            self._drop(conn)

    def _take(self, conn: Connection) -> bool | None:
        """Takes what has come: True when it can be answered, False if not, None at the end."""
        data = _received(conn)
        if data == b"":
            return None
        conn.head += data or b""
        while conn.head.startswith(b"\r\n"):  # empty lines: RFC 9112, 2.2
            conn.head = conn.head[2:]
        conn.fault = _fault(conn.head)
        return conn.fault is not None or conn.head.find(b"\r\n\r\n", 0, MAX_HEAD) >= 0

    def _start(self, conn: Connection) -> None:
        """A thread for the request, or a place in its client's queue, or a refusal."""
        if conn.fault is not None:
            self._refuse(conn, *conn.fault)
            return
        if self._proxies:
            end = conn.head.index(b"\r\n\r\n")
            forwarded = b",".join(FORWARDED.findall(conn.head, 0, end)).decode("latin-1")
            self._counts_as(conn, origin(conn.peer, forwarded, self._proxies))
        own = self._clients[conn.who]
        is_health = HEALTH.match(conn.head) is not None
        now = time.monotonic()
        if is_health and self._health_running < HEALTH_THREADS:
            self._lend(conn, is_health=True)
        elif not self._turns and own.running < MAX_RUNNING and self._running < self.cfg.threads:
            self._take_turn(own, conn)
        elif len(own.waiting) >= MAX_WAITING:
            self._hold(conn, 0, None, REFUSED_AFTER_S, self._refuse_surplus)
        elif not is_health and self._turns and now - next(iter(self._turns.values())) > MAX_WAIT_S:
            message = "Too many requests at this moment; please try again in a few seconds."
            self._refuse(conn, 503, message, RETRY_AFTER_S)
        else:
            own.waiting.append(conn)
            self._queue(own)
            self._dispatch()

    def _refuse_surplus(self, conn: Connection) -> None:
        self._release(conn)
        message = f"More than {MAX_WAITING} requests of yours are waiting already."
        self._refuse(conn, 503, message, RETRY_AFTER_S)

    def _queue(self, own: Client) -> None:
        if own.waiting and own.running < MAX_RUNNING and own not in self._turns:
            self._turns[own] = time.monotonic()

    def _dispatch(self) -> None:
        """Threads for those whose turn it is."""
        while self._turns and self._running < self.cfg.threads:
            own = next(iter(self._turns))
            del self._turns[own]
            conn = own.waiting.popleft()
            if _has_left(conn):
                self._drop(conn)
            else:
                self._take_turn(own, conn)
            self._queue(own)

    def _take_turn(self, own: Client, conn: Connection) -> None:
        own.running += 1
        self._running += 1
        self._lend(conn, is_health=False)

    def _lend(self, conn: Connection, is_health: bool) -> None:
        conn.is_health = is_health
        self._health_running += is_health
        conn.sock.begin(conn.head.split(b" ", 2)[1])
        conn.init()
        conn.parser.unreader.unread(conn.head)
        conn.head = b""
        self.enqueue_req(conn)

    # With a thread.

    def handle_request(self, req: Any, conn: Connection) -> Any:
        if any(
            name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and value != "0")
            for name, value in req.headers
        ):
            req.force_close()  # or gunicorn would wait here for the rest of the body
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Socket, addr: Any, exc: BaseException) -> None:
        """What gunicorn refuses, and what the application did not answer, in the one shape."""
        found = ((code, said) for kinds, code, said in REFUSALS if isinstance(exc, kinds))
        code, message = next(found, (500, BROKEN))
        if code == 500:
            self.log.exception("error handling %s", client.path)
        else:
            self.log.info("refused with %d: %s", code, exc)
        client.sendall(_answer(client.path, code, message))

    # An answer goes out.

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        if conn.is_health:
            self._health_running -= 1
        else:
            self._running -= 1
            own = self._clients[conn.who]
            own.running -= 1
            if own.waiting:
                self._queue(own)
        if self._turns:
            self._dispatch()
        conn.keep = not fs.cancelled() and fs.exception() is None and fs.result() is True
        if conn.sock.fileno() < 0:  # an answer broke off, and gunicorn has closed already
            self._drop(conn)
            return
        conn.sock.setblocking(False)
        if not conn.sock.unsent:
            self._answered(conn)
        elif conn.sock.is_refusal:
            self._hold(conn, 0, None, REFUSED_AFTER_S, self._send_refusal)
        else:
            self._hold(conn, EVENT_WRITE, self._flush, SEND_S)
            self._bound_unsent()

    def _send_refusal(self, conn: Connection) -> None:
        self._release(conn)
        self._hold(conn, EVENT_WRITE, self._flush, SEND_S)

    def _bound_unsent(self) -> None:
        """Until it is enough, the oldest answer goes that the client with most has not taken."""
        while sum(len(c.sock.unsent) for c in self._held) > MAX_UNSENT_TOTAL:
            most = max(self._clients.values(), key=lambda c: c.unsent)
            self._forget(next(c for c in most.connections if c in self._held and c.sock.unsent))

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
        self._counts_as(conn, conn.peer)
        conn.head = conn.parser.unreader.take_buffered()
        if conn.head:  # the next request came with the last one
            self._admit(conn)
            return
        conn.set_timeout()
        if not self.alive:
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        self.keepalived_conns.append(conn)
        conn.idle = True
        self._watch(conn, EVENT_READ, self._again)

    def _refuse(self, conn: Connection, code: int, message: str, retry_after_s: int = 0) -> None:
        """Answers without a thread; then the connection ends."""
        _, path, *_ = (*conn.head.split(b" ", 2), b"", b"")
        try:
            conn.sock.push(_answer(path.decode("latin-1"), code, message, retry_after_s))
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

    # Waiting for clients.

    def _hold(
        self,
        conn: Connection,
        event: int,
        then: Callable[[Connection], None] | None,
        seconds: float,
        at_end: Callable[[Connection], None] | None = None,
    ) -> None:
        """Waits for the event, or for nothing but the end of the time; then it is forgotten."""
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + seconds
        conn.at_end = at_end
        self._held[conn] = None
        if then is not None:
            self._watch(conn, event, then)

    def _watch(self, conn: Connection, event: int, then: Callable[[Connection], None]) -> None:
        def happened(_: Any) -> None:
            if conn.sock.fileno() >= 0:  # else it was closed since the loop last looked
                then(conn)

        self.poller.register(conn.sock, event, happened)
        conn.watched = True

    def _unwatch(self, conn: Connection) -> None:
        if conn.watched:
            self.poller.unregister(conn.sock)
            conn.watched = False

    def _release(self, conn: Connection) -> None:
        self._unwatch(conn)
        del self._held[conn]

    def _forget(self, conn: Connection) -> None:
        """Ends a connection that is held or idle."""
        self._unwatch(conn)
        if conn.idle:
            self._not_idle(conn)
        else:
            del self._held[conn]
        self._drop(conn)

    def _not_idle(self, conn: Connection) -> None:
        self.keepalived_conns.remove(conn)
        conn.idle = False

    def murder_keepalived(self, force: bool = False) -> None:
        now = time.monotonic()
        while self.keepalived_conns and (force or self.keepalived_conns[0].timeout < now):
            self._forget(self.keepalived_conns[0])

    def murder_pending(self) -> None:
        """gunicorn calls it after each turn of the loop; deadlines differ, so all are looked at."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            for conn in list(self._held):
                unused = conn.parser is None and not conn.head
                if unused and not self.alive:
                    self._forget(conn)
                elif conn.timeout < now:
                    (conn.at_end or self._forget)(conn)


def _fault(head: bytes) -> tuple[int, str] | None:
    """What is wrong with a head, as far as it has come."""
    end = head.find(b"\r\n\r\n", 0, MAX_HEAD)
    if REQUEST_LINE.match(head):
        if end < 0 and len(head) >= MAX_HEAD:
            return 431, f"Address and headers together may have {MAX_HEAD} bytes."
        until = len(head) if end < 0 else end + 4
        if head.count(b"\n", 0, until) != head.count(b"\r\n", 0, until):
            return 400, "Lines of a request end with carriage return and line feed."
    elif head not in (b"", b"\r") and not b"A" <= head[:1] <= b"Z":
        return 400, "This is not HTTP/1.1; TLS, if there is any, ends at the load balancer."
    elif b"\n" in head:
        return 400, "The first line is not that of an HTTP/1.1 request."
    elif len(head) >= MAX_HEAD:
        return 414, "The request line is too long."
    return None


def _answer(path: str, code: int, message: str, retry_after_s: int = 0) -> bytes:
    headers, body = refusal(path, code, message, retry_after_s)
    lines = [f"HTTP/1.1 {code} {HTTP_STATUS_CODES[code]}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _has_left(conn: Connection) -> bool:
    try:
        return not conn.sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _received(conn: Connection) -> bytes | None:
    """What has come; None when nothing has yet, empty when the client is gone."""
    try:
        return bytes(conn.sock.recv(MAX_HEAD))
    except BlockingIOError:
        return None
    except OSError:
        return b""

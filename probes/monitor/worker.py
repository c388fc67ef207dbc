"""gunicorn's threaded worker; a thread gets whole requests only, and waits for no client.

gthread lends a thread to a connection while its request trickles in, and its main loop waits up to
2 s for a client to close: a few slow clients, and Docker finds the monitor unhealthy. Here the
main loop takes in the head of a request, until a deadline. Bodies are not read, since no address
takes any, and an answer fits into the socket's buffer.
"""

import errno
import socket
import struct
import time
from concurrent.futures import Future
from selectors import EVENT_READ
from typing import Any, Final

from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_S: Final = 10.0  # for a request's head to come
SEND_S: Final = 5  # for a client to take what does not fit into the buffer
MAX_HEAD: Final = 16 * 2**10
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
EXHAUSTED_S: Final = 0.1  # between two looks at a listener whose connections cannot be accepted
SEND_BUFFER: Final = 512 * 2**10  # the kernel may give less: net.core.wmem_max


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection, and what has come of its request's head."""

    head = b""


class Worker(ThreadWorker):  # type: ignore[misc]
    """`worker_class` of gunicorn.conf.py. All but `handle` runs on the main loop's thread."""

    def accept(self, listener: socket.socket) -> None:
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            # Raised, it would end the process, and the threads that measure with it.
            if self.pending_conns:
                self._end(self.pending_conns[0])
            else:
                time.sleep(EXHAUSTED_S)
            return
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_S, 0))
        if self.nr_conns + 1 >= self.worker_connections and self.pending_conns:
            self._end(self.pending_conns[0])  # who has kept us waiting longest makes room
        self.nr_conns += 1
        conn = Connection(self.cfg, accepted, address, listener.getsockname())
        conn.timeout = time.monotonic() + HEAD_S  # then gunicorn's murder_pending closes it
        self.pending_conns.append(conn)
        self.poller.register(accepted, EVENT_READ, lambda _: self._more(conn))

    def _more(self, conn: Connection) -> None:
        if conn.sock.fileno() < 0:  # closed since the loop last looked
            return
        try:
            data = conn.sock.recv(MAX_HEAD)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or len(conn.head) > MAX_HEAD:
            self._end(conn)
            return
        conn.head += data
        if b"\r\n\r\n" in conn.head:
            self._release(conn)
            conn.data_ready = True
            conn.init()
            conn.parser.unreader.unread(conn.head)
            self.enqueue_req(conn)

    def finish_request(self, conn: Connection, fs: Future[Any]) -> None:
        # Every answer is the last of its connection (keepalive is 0), and no client is waited for.
        self.nr_conns -= 1
        conn.close()

    def _release(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)

    def _end(self, conn: Connection) -> None:
        self._release(conn)
        self.nr_conns -= 1
        conn.close()

"""A server that holds a generator in memory and enhances wav files for `enhance pipe --socket S`.

A Unix socket that only its owner may open; enhance/pipe_client.py says what goes over it.  Requests may come at the
same time; as many as there are models are worked on at once, each by a model of its own, whose state no other meets.
"""

from __future__ import annotations

import os
import queue
import signal
import socketserver
import stat
import threading
from collections.abc import Callable
from types import FrameType

from enhance.models import Generator
from enhance.pipe_client import ERROR, LARGEST, LENGTH_BYTES, OK, ask, received
from enhance.piped import enhance_wav
from harness.errors import ConfigError, SchoolyardError
from harness.log import get_logger

PATIENCE = 60.0  # seconds without a byte from or to a client
LONGEST_PATH = 107  # bytes of a socket's path, by the system


class EnhanceServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens at a path.  models: one for each request that is worked on at the same time."""

    daemon_threads = False  # server_close waits for what is being worked on
    request_queue_size = 128

    def __init__(
        self, place: str | os.PathLike[str], models: list[Generator], *, mix: float = 0.0, convert: bool = False
    ) -> None:
        free_socket(place)
        self.place, self.mix, self.convert = os.fspath(place), mix, convert
        self.models: queue.Queue[Generator] = queue.Queue()
        for model in models:
            self.models.put(model)
        self.answered = self.refused = 0
        self.bound = False
        before = os.umask(0o177)
        try:
            super().__init__(self.place, _Request)
        except OSError as error:
            problem = f"cannot become a socket ({error.strerror or error})"
            raise ConfigError(place, problem, mend="choose another path for --socket") from error
        finally:
            os.umask(before)

    def enhanced(self, raw: bytes) -> bytes:
        """The answer to a request, when a model is free."""
        import torch

        model = self.models.get()
        torch.set_num_threads(1)  # holds for this thread alone
        try:
            return enhance_wav(model, raw, mix=self.mix, convert=self.convert, where="standard input of the pipe")
        finally:
            self.models.put(model)

    def server_bind(self) -> None:
        super().server_bind()
        self.bound = True

    def server_close(self) -> None:
        """Take the socket away while it is ours for sure: the next server may come before the last answer is out."""
        if self.bound and os.path.lexists(self.place):
            os.unlink(self.place)
        self.bound = False
        super().server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left before its answer is no trouble; all else is shown."""
        get_logger("enhance").warning("a client left before its answer")


class _Request(socketserver.BaseRequestHandler):
    server: EnhanceServer

    def setup(self) -> None:
        self.request.settimeout(PATIENCE)

    def handle(self) -> None:
        length = int.from_bytes(received(self.request, LENGTH_BYTES), "big")
        if length == 0:
            self._answer(OK, b"")
            return
        if length > LARGEST:
            self._answer(ERROR, f"{self.server.place}: a message of {length} bytes\n  mend: send one wav".encode())
            return
        try:
            wav = self.server.enhanced(received(self.request, length))
        except SchoolyardError as error:
            self.server.refused += 1
            self._answer(ERROR, str(error).encode())
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # the server lives on, and the client must not take silence for sound
            get_logger("enhance").exception("a request failed")
            self._answer(ERROR, f"{self.server.place}: the server failed ({error!r})\n  mend: see its log".encode())
        else:
            self.server.answered += 1
            self._answer(OK, wav)

    def _answer(self, kind: bytes, message: bytes) -> None:
        self.request.sendall(kind + len(message).to_bytes(LENGTH_BYTES, "big") + message)


def free_socket(place: str | os.PathLike[str]) -> None:
    """Remove a socket that a killed server left.

    Raises ConfigError where a server answers, where something else is there, and for a path that is too long.
    """
    if len(os.fsencode(place)) > LONGEST_PATH:
        problem = f"is longer than {LONGEST_PATH} bytes, which no socket may be"
        raise ConfigError(place, problem, mend="choose a shorter path for --socket")
    if not os.path.lexists(place):
        return
    if not stat.S_ISSOCK(os.lstat(place).st_mode):
        raise ConfigError(place, "is there and no socket", mend="choose another path for --socket")
    try:
        ask(os.fspath(place), b"")
    except ConnectionRefusedError:
        os.unlink(place)
    except OSError as error:
        problem = f"is the socket of another program ({error.strerror or error})"
        raise ConfigError(place, problem, mend="choose another path for --socket") from error
    else:
        raise ConfigError(place, "has a server already", mend="use it, or choose another --socket")


def serve(server: EnhanceServer, ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or SIGINT; what is being worked on is finished first.  ready: called when it listens."""

    def stop(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown).start()  # shutdown waits for the loop that this handler interrupts

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ready()
        server.serve_forever(poll_interval=0.1)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        server.server_close()
        get_logger("enhance").info("%d wavs enhanced, %d refused", server.answered, server.refused)

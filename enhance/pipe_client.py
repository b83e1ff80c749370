"""`python -m enhance pipe --socket S`: a wav from standard input to the server at S, what it gives to standard output.

One process for every utterance of a wav.scp: therefore only the standard library is imported here, and little of it,
and enhance/__main__.py comes here before it imports anything else.

The protocol: each side sends one message, 8 bytes of length (big endian) and then the bytes; the answer begins with one
more byte, OK or an error.  A length of 0 asks whether the server is there.
"""

from __future__ import annotations

import socket
import sys
from typing import NoReturn

OK, ERROR = b"\0", b"\1"
LENGTH_BYTES = 8
LARGEST = 1 << 32  # bytes of a message: about 18 hours at 16 kHz


def client_asked(words: list[str]) -> str | None:
    """The socket of `pipe --socket S` (or --socket=S), where that is all of the command; else None."""
    match words:
        case ["pipe", "--socket", place]:
            return place
        case ["pipe", word] if word.startswith("--socket="):
            return word.removeprefix("--socket=")
        case _:
            return None


def run_client(place: str) -> NoReturn:
    """Send standard input, print the answer; exits with 0, or with 1 and the server's words on standard error."""
    raw = sys.stdin.buffer.read()
    if not raw:
        _fail("standard input: is empty\n  mend: check the program before the pipe")
    try:
        kind, answer = ask(place, raw)
    except OSError as error:
        mend = f"start it: python -m enhance serve --socket {place}"
        _fail(f"{place}: no server answers ({error.strerror or error})\n  mend: {mend}")
    if kind != OK:
        _fail(answer.decode("utf-8", "replace"))
    try:
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    sys.exit(0)


def ask(place: str, message: bytes) -> tuple[bytes, bytes]:
    """(OK or ERROR, what the server says) to a message.  Raises OSError where nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect(place)
        line.sendall(len(message).to_bytes(LENGTH_BYTES, "big") + message)
        kind = received(line, 1)
        return kind, received(line, int.from_bytes(received(line, LENGTH_BYTES), "big"))


def received(line: socket.socket, count: int) -> bytes:
    """Exactly so many bytes.  Raises ConnectionError where the other side leaves before."""
    parts = []
    while count:
        part = line.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionError("it left before the end")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _fail(text: str) -> NoReturn:
    sys.stderr.write(f"ERROR {text}\n")
    sys.exit(1)

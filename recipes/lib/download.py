"""Archives of a corpus: fetched once, resumed where they broke off, checked against a digest, unpacked whole.

    archive = Archive(url="https://www.openslr.org/resources/12/dev-clean.tar.gz", digest="md5:42e2...")
    unpack(fetch(archive, Path("downloads")), Path("corpus/dev-clean"))

While it comes, FILE lies in FILE.part, and what tells its version apart (ETag or date) in FILE.part.version: a file
that changed on the server, and a server that cannot resume, start anew.  FILE appears when its digest is right.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.atomic import disk_error, whole_dir, write_whole
from harness.errors import DiskError, SchoolyardError
from harness.log import get_logger

BLOCK = 1 << 20  # bytes read at a time
DIGESTS = ("md5", "sha1", "sha256")
MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "tar", b"BZh": "tar", b"\xfd7zXZ": "tar"}


class DownloadError(SchoolyardError):
    """A file could not be fetched, is not what its publisher says, or cannot be unpacked."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to fetch.  digest: "md5:HEX" (sha1, sha256); mirrors: further places of the same file.

    "size:BYTES" stands for a digest where the publisher tells nothing better: then only a wrong length is seen here,
    and a wrong content by the archive's own check sums when it is unpacked.
    """

    url: str
    digest: str
    mirrors: tuple[str, ...] = ()
    name: str = ""  # on disk; the last part of the url if empty

    def __post_init__(self) -> None:
        kind, _, value = self.digest.partition(":")
        if kind == "size" and value.isdecimal():
            return
        if kind not in DIGESTS or len(value) != hashlib.new(kind).digest_size * 2:
            known = ", ".join(DIGESTS)
            raise ValueError(f"digest must be one of {known} with its hex digits, or size:BYTES, got {self.digest!r}")

    @property
    def file_name(self) -> str:
        """What the file is called on disk."""
        return self.name or Path(urllib.parse.urlsplit(self.url).path).name


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """How patient a download is."""

    tries: int = 5  # of each place, in a row without any progress
    timeout: float = 60.0  # seconds without a byte
    wait: float = 2.0  # seconds before the second try; doubled each time

    def __post_init__(self) -> None:
        if self.tries < 1 or self.timeout <= 0 or self.wait < 0:
            raise ValueError(f"tries, timeout and wait must be positive, got {self}")


def fetch(archive: Archive, folder: Path, config: FetchConfig | None = None) -> Path:
    """The archive as a file in ``folder``; one that is there already is checked and not fetched again.

    Raises DownloadError: no such file, no connection, wrong digest; DiskError where the disk is full.
    """
    final, log = folder / archive.file_name, get_logger("download")
    if final.is_file():
        if digest_of(final, archive.digest) == archive.digest:
            log.info("%s: already there, digest as published", final)
            return final
        log.warning("%s: is not as published, fetched again", final)
        final.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{archive.file_name}.part"
    problems: list[str] = []
    for url in (archive.url, *archive.mirrors):
        try:
            _fetch_from(url, part, config or FetchConfig())
        except DownloadError as error:
            problems.append(f"{url}: {error.problem}")
            log.warning("%s: %s", url, error.problem)
            continue
        if (got := digest_of(part, archive.digest)) == archive.digest:
            part.replace(final)
            _version_file(part).unlink(missing_ok=True)
            log.info("%s: %d bytes, digest as published", final, final.stat().st_size)
            return final
        problems.append(f"{url}: has {got}, published is {archive.digest}")
        log.warning("%s", problems[-1])
        _forget(part)
    mend = f"check the connection and run the command again: it goes on from {part}" if part.exists() else (
        f"fetch it by hand into {folder}, or ask its publisher for the present digest"
    )  # fmt: skip
    raise DownloadError(final, "could not be fetched (" + "; ".join(problems) + ")", mend=mend)


def digest_of(path: Path, like: str) -> str:
    """The digest of a file, written as ``like`` is ("md5:...", "size:...")."""
    kind = like.partition(":")[0]
    if kind == "size":
        return f"size:{path.stat().st_size}"
    with open(path, "rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


def _fetch_from(url: str, part: Path, config: FetchConfig) -> None:
    """All of a url into ``part``; tried again after what may pass: broken lines, time-outs, a busy server."""
    failures, most = 0, part.stat().st_size if part.exists() else 0
    while True:
        try:
            if _fetch_rest(url, part, config.timeout):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise DownloadError(url, reason, mend="check the address") from None
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            reason = f"no connection ({getattr(error, 'reason', None) or error or type(error).__name__})"
        after = part.stat().st_size if part.exists() else 0
        failures, most = (1, after) if after > most else (failures + 1, most)
        if failures >= config.tries:
            raise DownloadError(url, reason, mend="check the connection, and run the command again")
        get_logger("download").info("%s: %s after %d bytes, once more", url, reason, after)
        time.sleep(config.wait * 2 ** (failures - 1))


def _fetch_rest(url: str, part: Path, timeout: float) -> bool:
    """Fetch what ``part`` lacks; whether it is whole now, as far as the server says."""
    have = part.stat().st_size if part.exists() else 0
    version = _version_file(part).read_text(encoding="utf-8") if have and _version_file(part).exists() else ""
    headers = {"User-Agent": "schoolyard"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch, or another file lies there: the digest decides
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total == str(have):
                return True
            _forget(part)
            return False
        raise
    with response:
        resumed = response.status == 206 and _starts_at(response, have)
        length = int(response.headers.get("Content-Length") or -1)
        first = have if resumed else 0
        _check_space(part, length)
        with write_whole(_version_file(part)) as stream:
            stream.write(_version_of(response))
        whole = _append(response, part, "ab" if resumed else "wb")
        return whole and (length < 0 or part.stat().st_size == first + length)


def _append(response: http.client.HTTPResponse, part: Path, mode: str) -> bool:
    """Write what comes; whether the answer came to its end, as far as that can be told."""
    try:
        with open(part, mode) as stream:
            last, start, begun = 0.0, time.monotonic(), stream.tell()
            while block := _received(response):
                stream.write(block)
                if (now := time.monotonic()) - max(last, start) >= 10:
                    speed = (stream.tell() - begun) / (now - start) / 1e6
                    get_logger("download").info("%s: %.0f MB, %.1f MB/s", part.stem, stream.tell() / 1e6, speed)
                    last = now
    except http.client.IncompleteRead:
        return False  # what came is kept
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise disk_error(part, error) from error
    return True


def _received(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:  # no route to the host, a broken TLS record: of the line, not of the disk
        raise ConnectionError(str(error)) from error


def _version_of(response: http.client.HTTPResponse) -> str:
    """What If-Range takes: a strong ETag, else the date; empty where the server says neither: no resuming then."""
    tag = response.headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or ""


def _starts_at(response: http.client.HTTPResponse, first: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {first}-")


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        problem = f"needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free"
        raise DiskError(path, problem, mend="free some space, or download to another disk")


# ---- unpacking


def unpack(archive: Path, target: Path) -> Path:
    """A zip or tar (gz, bz2, xz) unpacked into ``target``, which appears when whole; one that is there stays as it is.

    Raises DownloadError for a damaged archive and for members that would lie outside of the target.
    """
    if target.is_dir() and any(target.iterdir()):
        get_logger("download").info("%s: already unpacked", target)
        return target
    try:
        with open(archive, "rb") as stream:
            head = stream.read(8)
        with whole_dir(target) as aside:
            match next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "tar"):
                case "zip":
                    _unzip(archive, aside)
                case _:
                    with tarfile.open(archive) as tar:
                        tar.extractall(aside, filter="data")
    except (tarfile.FilterError, _OutsideError) as error:
        raise DownloadError(archive, f"is not to be trusted: {error}", mend="get it from its publisher") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        problem = f"is damaged, or no archive ({error or type(error).__name__})"
        raise DownloadError(archive, problem, mend="remove it, and fetch it again") from None
    get_logger("download").info("%s: unpacked into %s", archive, target)
    return target


class _OutsideError(Exception):
    """A member of an archive that points out of it."""


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            parts = Path(member.filename.replace("\\", "/")).parts
            if ".." in parts or member.filename.startswith(("/", "\\")) or stat.S_ISLNK(member.external_attr >> 16):
                raise _OutsideError(f"{member.filename!r} would lie outside of the target")
        opened.extractall(target)


def fetch_and_unpack(archives: Iterable[Archive], downloads: Path, corpus: Path) -> None:
    """Every archive fetched into ``downloads`` and unpacked into a folder of its name in ``corpus``."""
    for archive in archives:
        stem = archive.file_name.removesuffix(".zip").removesuffix(".tgz").removesuffix(".tar.gz")
        unpack(fetch(archive, downloads), corpus / stem)

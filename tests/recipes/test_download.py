"""Downloads against a server of our own that breaks off, resumes, changes its file, refuses, and lies."""

from __future__ import annotations

import errno
import hashlib
import http.client
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from harness.errors import SchoolyardError
from recipes.lib.download import Archive, DownloadError, FetchConfig, fetch, fetch_and_unpack, unpack

CONTENT = np.random.default_rng(7).bytes(300_000)
PATIENCE = FetchConfig(tries=3, timeout=5, wait=0)


class Server(ThreadingHTTPServer):
    """Serves `content` at any path; what it does wrong is set by the tests."""

    content = CONTENT
    tag = '"one"'
    ranges = True  # whether it knows Range
    break_after: int | None = None  # bytes of each answer after which the line drops
    status = 200  # of every answer
    chunked = False  # whether the first answer tells no length, and breaks off within a chunk

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []  # the Range header of every request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/corpora/speech.bin?sequence=2"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        first = 0
        if wanted and server.ranges and self.headers.get("If-Range") in (None, server.tag):
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
        if first >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        rest = server.content[first:]
        if server.chunked:
            server.chunked = False
            self.protocol_version = "HTTP/1.1"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("ETag", server.tag)
            self.end_headers()
            self.wfile.write(f"{len(rest):x}\r\n".encode() + rest[: server.break_after])
            self.close_connection = True
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(rest)))
        if server.tag:
            self.send_header("ETag", server.tag)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(rest[: server.break_after])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def archive_at(url: str, content: bytes = CONTENT, **options: object) -> Archive:
    return Archive(url=url, digest=f"md5:{hashlib.md5(content).hexdigest()}", **options)  # type: ignore[arg-type]


def test_a_file_comes_whole_under_the_name_in_the_address_and_is_not_fetched_again(
    server: Server, tmp_path: Path
) -> None:
    path = fetch(archive_at(server.url), tmp_path, PATIENCE)
    assert path == tmp_path / "speech.bin"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["speech.bin"]
    fetch(archive_at(server.url), tmp_path, PATIENCE)
    assert len(server.asked) == 1


def test_a_line_that_drops_again_and_again_is_resumed_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.break_after = 70_000  # five answers for the whole file: more than the tries in a row
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-", "bytes=280000-"]


def test_an_answer_of_unknown_length_that_breaks_off_is_resumed(server: Server, tmp_path: Path) -> None:
    server.chunked, server.break_after = True, 2_000_000
    server.content = CONTENT * 10
    assert fetch(archive_at(server.url, server.content), tmp_path, PATIENCE).read_bytes() == server.content
    assert len(server.asked) > 1
    assert server.asked[1] is not None


def test_a_network_that_goes_away_within_the_file_is_tried_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel says it when a cable is pulled; http.client hands it on."""
    read, calls = http.client.HTTPResponse.read, iter([False, True])

    def fail_once(response: http.client.HTTPResponse, *size: int) -> bytes:
        if next(calls, False):
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return read(response, 100_000)

    monkeypatch.setattr(http.client.HTTPResponse, "read", fail_once)
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_what_an_earlier_run_fetched_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.break_after, server.status = 100_000, 200
    with pytest.raises(DownloadError, match="the connection ended early"):
        fetch(archive_at(server.url), tmp_path, FetchConfig(tries=1, timeout=5, wait=0))
    assert (tmp_path / "speech.bin.part").stat().st_size == 100_000
    server.break_after = None
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_file_that_changed_on_the_server_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.bin.part").write_bytes(b"\0" * 1000)
    (tmp_path / "speech.bin.part.version").write_text('"zero"')
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT


@pytest.mark.parametrize("ranges", [True, False])
def test_without_versions_or_without_ranges_a_broken_download_starts_anew(
    server: Server, tmp_path: Path, ranges: bool
) -> None:
    server.ranges, server.tag = ranges, "" if ranges else server.tag
    (tmp_path / "speech.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "speech.bin.part.version").write_text(server.tag)
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT


def test_a_part_that_was_whole_when_the_program_died_needs_no_byte_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.bin.part").write_bytes(CONTENT)
    (tmp_path / "speech.bin.part.version").write_text(server.tag)
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT
    assert server.asked == ["bytes=300000-"]


def test_another_digest_than_published_is_refused_and_the_file_thrown_away(server: Server, tmp_path: Path) -> None:
    archive = archive_at(server.url, b"something else")
    with pytest.raises(DownloadError, match=f"has md5:{hashlib.md5(CONTENT).hexdigest()}, published is") as refused:
        fetch(archive, tmp_path, PATIENCE)
    assert "fetch it by hand" in refused.value.mend
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_on_disk_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "speech.bin").write_bytes(CONTENT[:-1] + b"?")
    assert fetch(archive_at(server.url), tmp_path, PATIENCE).read_bytes() == CONTENT


def test_a_mirror_helps_where_the_first_place_fails(server: Server, tmp_path: Path) -> None:
    archive = archive_at("http://127.0.0.1:1/speech.bin", mirrors=(server.url,))
    assert fetch(archive, tmp_path, PATIENCE).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, 3)])
def test_a_missing_file_ends_at_once_and_a_busy_server_is_asked_again(
    server: Server, tmp_path: Path, status: int, requests: int
) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=f"the server answers {status}"):
        fetch(archive_at(server.url), tmp_path, PATIENCE)
    assert len(server.asked) == requests


def test_no_connection_is_said_with_the_address(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:1/speech\.bin: no connection"):
        fetch(archive_at("http://127.0.0.1:1/speech.bin"), tmp_path, PATIENCE)


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=299_999))
    with pytest.raises(SchoolyardError, match=r"speech.bin.part: needs 0 MB, 0 MB are free"):
        fetch(archive_at(server.url), tmp_path, PATIENCE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) - 1])
def test_where_no_digest_is_published_the_length_is_compared(server: Server, size: int, tmp_path: Path) -> None:
    archive = Archive(url=server.url, digest=f"size:{size}")
    if size == len(CONTENT):
        assert fetch(archive, tmp_path, PATIENCE).read_bytes() == CONTENT
        fetch(archive, tmp_path, PATIENCE)
        assert len(server.asked) == 1
    else:
        with pytest.raises(DownloadError, match=rf"has size:{len(CONTENT)}, published is size:{size}"):
            fetch(archive, tmp_path, PATIENCE)
        assert not (tmp_path / archive.file_name).exists()


def test_a_digest_must_be_whole() -> None:
    with pytest.raises(ValueError, match="md5, sha1, sha256"):
        Archive(url="http://x/y", digest="md5:12")


# ---- unpacking


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_is_unpacked_whole_and_once(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = pack(tmp_path / "clean.bin", {"clean/p226_001.wav": b"RIFF", "clean/p226_002.wav": CONTENT})
    target = unpack(path, tmp_path / "out")
    assert (target / "clean/p226_002.wav").read_bytes() == CONTENT
    (target / "clean/p226_001.wav").write_bytes(b"mine")
    assert (unpack(path, target) / "clean/p226_001.wav").read_bytes() == b"mine"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_outside_of_the_target_is_refused(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = pack(tmp_path / "bad.bin", {"good": b"1", "../../evil": b"2"})
    with pytest.raises(DownloadError, match="is not to be trusted"):
        unpack(path, tmp_path / "inner/out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.bin", "inner"]
    assert not (tmp_path / "inner/out").exists()


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_truncated_archive_leaves_nothing_behind(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = pack(tmp_path / "cut.bin", {"speech": CONTENT})
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(DownloadError, match="is damaged, or no archive"):
        unpack(path, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["cut.bin"]


def test_archives_are_fetched_and_unpacked_each_into_a_folder_of_its_name(server: Server, tmp_path: Path) -> None:
    server.content = zipped(tmp_path / "made.zip", {"p232_001.wav": b"RIFF"}).read_bytes()
    archive = archive_at(server.url, server.content, name="noisy_testset_wav.zip")
    fetch_and_unpack([archive], tmp_path / "downloads", tmp_path / "corpus")
    assert (tmp_path / "corpus/noisy_testset_wav/p232_001.wav").read_bytes() == b"RIFF"

"""Hostile and damaged sources of content: named in bounded time and memory, and the rest is read."""

import contextlib
import csv
import gzip
import io
import os
import resource
import socket
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylization import cli
from stylization.content import RemoteFiles, Shards, Source, Zip, archives, files, folder, open_source, packing, web
from stylization.content.archives import Index
from stylization.content.stream import Skip, as_csv
from stylization.errors import Damaged, InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLIZATION_CACHE", str(tmp_path / "cache"))


def jpeg(seed: int = 0) -> bytes:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


PICTURES = [jpeg(i) for i in range(5)]


def member(name: str, content: bytes, form: int = tarfile.GNU_FORMAT, **facts: object) -> bytes:
    """A header, whatever size it claims, and the data behind it."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in facts.items():
        setattr(entry, key, value)
    return entry.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def shard(*extra: bytes, end: bytes = bytes(1024)) -> bytes:
    """Three pictures, what is given, and two pictures more."""
    plain = [member(f"a/{i}.jpg", content) for i, content in enumerate(PICTURES)]
    return b"".join((*plain[:3], *extra, *plain[3:], end))


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def sound(source: Source) -> tuple[list[bytes], dict[str, str]]:
    """The images that can be read, and the name and reason of each of the others."""
    contents, refused = [], {}
    for i in range(len(source)):
        try:
            contents.append(source.read(i))
        except Damaged as error:
            refused[source.name(i)] = error.reason
            assert source.name(i).encode()  # it can be written down
    return contents, refused


def with_checksum(block: bytes) -> bytes:
    """A tar header whose checksum is made to fit."""
    total = sum(block[:148]) + 8 * 32 + sum(block[156:512])
    return block[:148] + b"%06o\0 " % total + block[156:]


def with_size(block: bytes, size: bytes) -> bytes:
    return with_checksum(block[:124] + size + block[136:])


@pytest.mark.parametrize("damage", ["flipped", "zeroed", "random"])
def test_damaged_tar_header_is_reported_and_what_follows_is_read(tmp_path: Path, damage: str) -> None:
    lost = member("a/lost.jpg", jpeg(9))
    header = {
        "flipped": lost[:3] + b"\xd1" + lost[4:512],
        "zeroed": bytes(512),
        "random": np.random.default_rng(0).bytes(512),
    }[damage]
    source = Shards(written(tmp_path / "x.tar", shard(header + lost[512:])))
    contents, refused = sound(source)
    assert contents == PICTURES
    assert list(refused.values()) == ["corrupt"] and "header at byte" in next(iter(refused))


def test_concatenated_tar_files_are_read_whole_and_the_padding_is_no_damage(tmp_path: Path) -> None:
    source = Shards(written(tmp_path / "x.tar", shard(end=bytes(9 * 512)) + shard(end=bytes(10240))))
    assert sound(source) == (PICTURES * 2, {})


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 10 + b"\xfe\0",  # -512: back to its own header, for ever
        b"\xff" * 12,
        b"\x80" + bytes(3) + (2**63 - 1).to_bytes(8, "big"),
        b"\x80" + bytes(3) + (1 << 40).to_bytes(8, "big"),
        b"-0000000010\0",
        b"77777777777\0",
    ],
)
def test_sizes_that_cannot_be_are_rejected(tmp_path: Path, size: bytes) -> None:
    for name in ("a/bad.jpg", "a/note.txt"):
        path = written(tmp_path / "x.tar", shard(with_size(member(name, b""), size)))
        with pytest.raises(InputError, match=r"x\.tar.*bytes"):
            Shards(path)


@pytest.mark.parametrize("size", [b"-512", b"1099511627776", b"9223372036854775808", b"x", b"9" * 4000])
def test_sizes_in_pax_records_are_checked_too(tmp_path: Path, size: bytes) -> None:
    body = b" size=" + size + b"\n"
    length = next(n for n in range(len(body), len(body) + 9) if len(str(n)) + len(body) == n)
    records = member("x", str(length).encode() + body, type=tarfile.XHDTYPE)
    with pytest.raises(InputError, match=r"x\.tar.*(bytes|size)"):
        Shards(written(tmp_path / "x.tar", shard(records + member("a/bad.jpg", b""))))


def test_extensions_of_tar_are_bounded_in_size(tmp_path: Path) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        extension = member("x", bytes(2 << 20), type=kind)
        with pytest.raises(InputError, match="claims 2097152 bytes"):
            Shards(written(tmp_path / "x.tar", shard(extension)))


def test_long_names_are_read_and_those_without_measure_skipped(tmp_path: Path) -> None:
    extra, contents = [], []
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        extra.append(member("b/" * 80 + "é.jpg", jpeg(7), form))
        contents.append(jpeg(7))
    extra.append(member("c" * 5000 + ".jpg", jpeg(8)))
    source = Shards(written(tmp_path / "x.tar", shard(*extra)))
    found, refused = sound(source)
    assert found == PICTURES[:3] + contents + PICTURES[3:]
    assert source.name(3) == "x.tar/" + "b/" * 80 + "é.jpg"
    assert list(refused.values()) == ["unreadable"]


def test_sparse_files_links_and_devices_in_tar_are_named(tmp_path: Path) -> None:
    gnu = bytearray(member("a/sparse.jpg", b"x" * 512, type=tarfile.GNUTYPE_SPARSE))
    gnu[482], gnu[483:495] = 1, b"00000000010\0"  # more of the map follows
    gnu = with_checksum(bytes(gnu[:512])) + bytes(504) + b"\1" + bytes(7) + bytes(512) + bytes(gnu[512:])
    pax = member(
        "GNUSparseFile.0/x.jpg",
        jpeg(1),
        tarfile.PAX_FORMAT,
        pax_headers={"GNU.sparse.major": "1", "GNU.sparse.name": "a/pax.jpg", "GNU.sparse.realsize": "1" + "0" * 18},
    )
    others = [
        member(f"a/{kind.decode()}.jpg", b"", type=kind, linkname="a/0.jpg")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    ]
    source = Shards(written(tmp_path / "x.tar", shard(gnu, pax, *others, member("a/d.jpg", b"", type=tarfile.DIRTYPE))))
    contents, refused = sound(source)
    assert contents == PICTURES
    names = ["sparse", "pax", "2", "1", "6", "3"]
    assert refused == {f"x.tar/a/{name}.jpg": "unreadable" for name in names}


def test_names_that_are_not_utf8_are_skipped_and_named_in_tar_and_folder(tmp_path: Path) -> None:
    latin = os.fsdecode(b"caf\xe9.jpg")
    place = tmp_path / "x.tar"
    source = Shards(written(place, shard(member(latin, jpeg(7)))))
    assert sound(source) == (PICTURES, {r"x.tar/caf\xe9.jpg": "unreadable"})
    assert Shards(str(place)).name(3) == source.name(3)  # from the index kept
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / latin).write_bytes(jpeg(7))
    (photos / "sound.jpg").write_bytes(PICTURES[0])
    assert sound(folder(photos)) == (PICTURES[:1], {r"caf\xe9.jpg": "unreadable"})
    skips = packing.pack(folder(photos), tmp_path / "packed", side_px=32, quality=90, images_per_shard=9, num_workers=0)
    assert [skip.image for skip in skips] == [r"caf\xe9.jpg"] and len(Shards(str(tmp_path / "packed"))) == 1


def test_shards_below_a_folder_whose_name_is_not_utf8_are_read(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"caf\xe9")
    place.mkdir()
    for _ in range(2):
        assert sound(Shards(written(place / os.fsdecode(b"\xe9.tar"), shard()))) == (PICTURES, {})


def zipped(extra: Callable[[zipfile.ZipFile], None] = lambda archive: None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for i, picture in enumerate(PICTURES):
            archive.writestr(f"a/{i}.jpg", picture)
        extra(archive)
    return content.getvalue()


def test_zip_members_are_checked_against_the_archive_and_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_IMAGE_BYTES", 1 << 20)

    def extra(archive: zipfile.ZipFile) -> None:
        archive.writestr("a/bomb.jpg", bytes(2 << 20))
        archive.writestr("a/liar.jpg", bytes(2 << 20))  # that says it is small
        archive.filelist[-1].file_size = 100
        for name, compressed in (("a/1t.jpg", 1 << 40), ("a/all.jpg", 900_000)):
            archive.writestr(name, b"x" * 100)
            archive.filelist[-1].compress_size = compressed
        archive.writestr("a/far.jpg", b"x")
        archive.filelist[-1].header_offset = 1 << 62
        archive.writestr("a/locked.jpg", b"x")
        archive.filelist[-1].flag_bits |= 1
        archive.writestr("nameless", b"x")
        archive.filelist[-1].filename = ""
        archive.writestr("a/lzma.jpg", b"x", zipfile.ZIP_LZMA)

    contents, refused = sound(Zip(written(tmp_path / "x.zip", zipped(extra))))
    assert contents == PICTURES
    assert refused == {
        "a/bomb.jpg": "too large",
        "a/liar.jpg": "too large",
        "a/1t.jpg": "too large",
        "a/all.jpg": "corrupt",
        "a/far.jpg": "corrupt",
        "a/locked.jpg": "unreadable",
        "a/lzma.jpg": "unreadable",
    }


def test_hidden_files_are_skipped_alike_in_zip_tar_and_folder(tmp_path: Path) -> None:
    hidden = ("._0.jpg", ".hidden.jpg", ".trash/a.jpg", "__MACOSX/b.jpg", "c/.d/e.jpg")
    (tmp_path / "photos").mkdir()
    for name in (*hidden, "c/f.jpg", "./g.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg())
    inside = [(name, jpeg()) for name in (*hidden, "./c/f.jpg", "g.jpg")]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name, content in inside:
            archive.writestr(name, content)
    (tmp_path / "shards").mkdir()
    tar = b"".join(member(name, content) for name, content in inside) + bytes(1024)
    (tmp_path / "shards" / "x.tar").write_bytes(tar)
    (tmp_path / "shards" / "._x.tar").write_bytes(b"not a tar file")
    (tmp_path / "photos" / "._x.tar").write_bytes(b"nor this")
    for location in ("photos", "x.zip", "shards"):
        assert len(open_source(str(tmp_path / location))) == 2, location


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Path]:
    """A folder of two pictures, and of what no folder of pictures should hold."""
    root = tmp_path / "odd"
    (root / "below" / "named.jpg").mkdir(parents=True)
    for path in (root / "a.jpg", root / "below" / "b.jpg"):
        path.write_bytes(jpeg())
    os.mkfifo(root / "pipe.jpg")
    (root / "device.jpg").symlink_to("/dev/zero")
    (root / "self.jpg").symlink_to(root / "self.jpg")
    (root / "nowhere.jpg").symlink_to(root / "absent.jpg")
    for name in ("loop", "again"):
        (root / "below" / name).symlink_to(root)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as end:
        with contextlib.chdir(root):
            end.bind("socket.jpg")
        yield root


def test_pipes_devices_sockets_loops_and_folders_are_named_and_pictures_read_once(odd: Path) -> None:
    contents, refused = sound(folder(odd))
    assert contents == [jpeg()] * 2
    names = ("pipe.jpg", "device.jpg", "self.jpg", "nowhere.jpg", "socket.jpg", "below/named.jpg")
    assert refused == dict.fromkeys(names, "unreadable")


def test_archives_that_are_pipes_or_devices_are_rejected(tmp_path: Path) -> None:
    for suffix in ("zip", "tar"):
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
        (tmp_path / f"self.{suffix}").symlink_to(tmp_path / f"self.{suffix}")
        for name in ("pipe", "zero", "self"):
            with pytest.raises(InputError, match=f"{name}.{suffix}"):
                open_source(str(tmp_path / f"{name}.{suffix}"))
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "x.tar").write_bytes(shard())
    os.mkfifo(tmp_path / "shards" / archives.SHARD_INDEX)
    assert sound(Shards(str(tmp_path / "shards"))) == (PICTURES, {})


def test_files_larger_than_the_limit_are_named(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "sound.jpg").write_bytes(jpeg())
    assert sound(folder(tmp_path)) == ([jpeg()], {"large.jpg": "unreadable"})


def test_range_of_a_billion_shards_is_rejected(tmp_path: Path) -> None:
    for span in ("{0..999999999}", "{9..1}"):
        with pytest.raises(InputError, match="range"):
            open_source(str(tmp_path / f"x-{span}.tar"))


def saved(index: Index, **changes: object) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **(index._asdict() | changes))
    return content.getvalue()


def bomb() -> bytes:
    """An index of one array that claims 8 TB."""
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776,), }"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for field in Index._fields:
            archive.writestr(f"{field}.npy", array)
    return content.getvalue()


def damaged_indexes(index: Index) -> Iterator[bytes]:
    whole = saved(index)
    yield b""
    yield whole[: len(whole) // 2]
    random = np.random.default_rng(0)
    for _ in range(60):
        mutant = bytearray(whole)
        for position in random.integers(0, len(whole), 3):
            mutant[position] ^= 1 << int(random.integers(8))
        yield bytes(mutant)
    yield bomb()
    yield saved(index, offsets=index.offsets + (1 << 40))
    yield saved(index, offsets=-index.offsets - 1)
    yield saved(index, lengths=index.lengths + (1 << 62))
    yield saved(index, lengths=index.lengths[:-1])
    yield saved(index, offsets=index.offsets.astype(float))
    yield saved(index, methods=index.methods + 77)
    yield saved(index, names=index.names[:-1])
    yield saved(index, names=index.names.reshape(1, -1))
    yield saved(index, starts=index.starts[::-1])
    yield saved(index, starts=index.starts[:0])
    yield saved(index, sizes=index.sizes.astype(np.float32))
    yield saved(index, names=np.array([object()] * len(index.names)))


def test_damaged_index_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(zipped())
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "x.tar").write_bytes(shard())
    for location in ("x.zip", "shards"):
        source = open_source(str(tmp_path / location))
        kept = files.cache_folder() / "indexes"
        places = [*kept.iterdir()] if location == "x.zip" else [tmp_path / "shards" / archives.SHARD_INDEX]
        assert len(places) == 1
        for content in damaged_indexes(source.index):  # type: ignore[attr-defined]
            places[0].write_bytes(content)
            assert sound(open_source(str(tmp_path / location))) == (PICTURES, {})


def test_mutated_archives_raise_nothing_but_input_errors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    long = member("b/" * 80 + "é.jpg", b"x", tarfile.PAX_FORMAT)
    for name, whole in (("x.tar", shard(long)), ("x.zip", zipped())):
        headers = [x for x in range(len(whole) - 4) if whole[x : x + 5] == b"ustar" or whole[x : x + 2] == b"PK"]
        for _ in range(150):
            mutant = bytearray(whole)
            for _ in range(3):
                near = int(random.choice(headers)) + int(random.integers(-257, 255 if name == "x.tar" else 60))
                mutant[near % len(whole)] = int(random.integers(256))
            for x in range(0, len(mutant), 512):  # so that the walk goes further than the checksum
                if name == "x.tar" and mutant[x + 257 : x + 262] == b"ustar" and random.random() < 0.8:
                    mutant[x : x + 512] = with_checksum(bytes(mutant[x : x + 512]))
            with contextlib.suppress(InputError):
                sound(open_source(written(tmp_path / name, bytes(mutant))))


def test_packing_shortens_names_that_a_header_cannot_hold(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / f"{'é' * 120}.jpg").write_bytes(jpeg())
    packing.pack(folder(tmp_path / "photos"), tmp_path / "x", side_px=32, quality=90, images_per_shard=9, num_workers=0)
    assert len(Shards(str(tmp_path / "x"))) == 1


def test_truncated_deflate_stream_is_damaged(tmp_path: Path) -> None:
    def cut(archive: zipfile.ZipFile) -> None:
        archive.writestr("a/cut.jpg", bytes(9000))
        archive.filelist[-1].compress_size -= 8
        archive.filelist[-1].CRC = zlib.crc32(b"")

    assert sound(Zip(written(tmp_path / "x.zip", zipped(cut))))[1] == {"a/cut.jpg": "corrupt"}


class Web:
    """A server whose every answer is given by `respond(handler)`; `asked` are the requests' headers."""

    def __init__(self, respond: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.asked: list[dict[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(dict(self.headers))
                with contextlib.suppress(OSError):  # the client has enough
                    respond(self)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"

    def __enter__(self) -> "Web":
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, object], body: Iterable[bytes] = ()) -> None:
    handler.send_response(status)
    for key, value in headers.items():
        handler.send_header(key, str(value))
    handler.end_headers()
    for chunk in body:
        handler.wfile.write(chunk)


def send_part(handler: BaseHTTPRequestHandler, content: bytes, shift: int = 0, **headers: object) -> None:
    """The range that is asked for; `shift` bytes further, though."""
    start, end = (int(x) for x in handler.headers["Range"].removeprefix("bytes=").split("-"))
    if start:
        start, end = start + shift, end + shift
    body = content[start : end + 1]
    told = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(content)}", "Content-Length": len(body)}
    send(handler, 206, told | {key.replace("_", "-"): value for key, value in headers.items()}, [body])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "START_S", 1.0)


def test_wrong_content_range_is_rejected() -> None:
    content = zipped()
    serving = Web(lambda handler: send_part(handler, content, shift=3))
    with serving as server, pytest.raises(InputError, match=r"answers bytes \d+-\d+ by 'bytes \d+-\d+/\d+'"):
        Zip(f"{server.url}x.zip", patience_s=0.1)
    for told in ("bytes 0-0/nonsense", "bytes 5-5/100", "", "bytes 0-0/-1", "bytes 0-0/" + "9" * 30):
        headers = {"Content-Range": told, "Content-Length": 0}
        serving = Web(lambda handler, headers=headers: send(handler, 206, headers))
        with serving as server, pytest.raises(InputError, match="answers bytes 0-0"):
            Zip(f"{server.url}x.zip", patience_s=0.1)


@pytest.mark.parametrize("honors", [True, False])
def test_file_that_changes_between_ranges_is_never_mixed(honors: bool) -> None:
    content, etag = zipped(), ['"one"']

    def respond(handler: BaseHTTPRequestHandler) -> None:
        if honors and handler.headers.get("If-Match", etag[0]) != etag[0]:
            return send(handler, 412, {"Content-Length": 0})
        return send_part(handler, content, ETag=etag[0])

    with Web(respond) as server:
        source = Zip(f"{server.url}x.zip", patience_s=0.1)
        assert source.read(0) == PICTURES[0]
        assert server.asked[-1]["If-Match"] == '"one"'
        etag[0] = '"two"'
        with pytest.raises(InputError, match="changed on its server") as caught:
            source.read(1)
        assert not isinstance(caught.value, Damaged)  # no substitute would be any better


def test_file_that_grows_between_ranges_is_told_without_etag() -> None:
    content = [zipped()]
    with Web(lambda handler: send_part(handler, content[0])) as server:
        source = Zip(f"{server.url}x.zip", patience_s=0.1)
        content[0] += b"more"
        with pytest.raises(InputError, match="changed on its server"):
            source.read(0)


def test_compressed_answers_are_not_decompressed() -> None:
    bomb = gzip.compress(bytes(50 << 20))
    told = {"Content-Encoding": "gzip", "Content-Length": len(bomb)}
    with Web(lambda handler: send(handler, 200, told, [bomb])) as server:
        for request in (lambda: Zip(f"{server.url}x.zip"), lambda: RemoteFiles([f"{server.url}x.jpg"], "").read(0)):
            with pytest.raises(InputError, match="the server compresses it"):
                request()
        with pytest.raises(InputError, match="compresses"):
            folder(server.url)


def endless() -> Iterator[bytes]:
    while True:
        yield b"\xff" * 65536


def test_endless_bodies_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_IMAGE_BYTES", 1 << 20)
    monkeypatch.setattr(web, "MAX_LISTING_BYTES", 1 << 20)
    with Web(lambda handler: send(handler, 200, {}, endless())) as server:
        with pytest.raises(Damaged, match="more than 1 MiB"):
            RemoteFiles([f"{server.url}x.jpg"], "").read(0)
        with pytest.raises(InputError, match="more than 1 MiB"):
            folder(server.url)
        with pytest.raises(InputError, match="does not say how large"):
            Zip(f"{server.url}x.zip")

    def longer(handler: BaseHTTPRequestHandler) -> None:
        start, end = (int(x) for x in handler.headers["Range"].removeprefix("bytes=").split("-"))
        send(handler, 206, {"Content-Range": f"bytes {start}-{end}/1000000"}, endless() if start else [b"x"])

    with Web(longer) as server, pytest.raises(InputError, match="sends more than"):
        Zip(f"{server.url}x.zip")


def dripping(forever: threading.Event) -> Iterator[bytes]:
    while not forever.wait(0.05):
        yield b"x"


def test_dripping_bodies_and_headers_end_in_bounded_time(hasty: None) -> None:
    over = threading.Event()

    def slow_part(handler: BaseHTTPRequestHandler) -> None:
        start, end = (int(x) for x in handler.headers["Range"].removeprefix("bytes=").split("-"))
        told = {"Content-Range": f"bytes {start}-{end}/1000000", "Content-Length": end - start + 1}
        send(handler, 206, told, dripping(over) if start else [b"x"])

    def slow_headers(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for k, _ in enumerate(dripping(over)):
            handler.wfile.write(b"X-%d: 1\r\n" % k)

    def slow_body(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, {}, dripping(over))

    for respond in (slow_part, slow_headers, slow_body):
        with Web(respond) as server:
            location = f"{server.url}x.zip" if respond is slow_part else server.url
            with pytest.raises(InputError, match=r"less than 20 kB/s"):
                open_source(location, patience_s=0.1)
    over.set()


def test_listing_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_FOLDERS", 50)
    page = b'<a href="deeper/">deeper</a> <a href="a.jpg">a</a> <a href="/elsewhere/b.jpg">b</a> <a href="http://[">'
    serving = Web(lambda handler: send(handler, 200, {"Content-Length": len(page)}, [page]))
    with serving as server, pytest.raises(InputError, match="more than 50 folders"):
        folder(f"{server.url}photos")


def test_endless_redirects_are_given_up() -> None:
    told = {"Location": "/again.jpg", "Content-Length": 0}
    with Web(lambda handler: send(handler, 302, told)) as server, pytest.raises(Damaged, match="TooManyRedirects"):
        RemoteFiles([f"{server.url}x.jpg"], "").read(0)


def test_cut_ranges_in_the_cache_are_fetched_again() -> None:
    content = zipped()
    with Web(lambda handler: send_part(handler, content)) as server:
        for _ in range(2):
            source = Zip(f"{server.url}x.zip")
            assert sound(source) == (PICTURES, {})
            for path in (files.cache_folder() / "ranges").glob("??/*"):
                path.write_bytes(path.read_bytes()[:10])


def test_check_and_pack_name_what_an_archive_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = member("a/lost.jpg", jpeg(9))
    path = written(tmp_path / "x.tar", shard(bytes(512) + lost[512:], member("=a\n\x1b[2J.jpg", b"")))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["content", "check", path, "--workers", "0"])
    told = capsys.readouterr().out
    assert stopped.value.code == 1
    assert "7 images, 5 of them sound" in told and "header at byte" in told
    assert "\x1b" not in told and r"=a\n\x1b[2J.jpg: empty" in told
    cli.main(["content", "pack", path, str(tmp_path / "packed"), "--workers", "0"])
    assert "header at byte" in (tmp_path / "packed" / "skipped.csv").read_text()
    assert len(Shards(str(tmp_path / "packed"))) == 5


def test_image_names_are_no_formulas_in_skipped_csv() -> None:
    rows = list(csv.reader(io.StringIO(as_csv([Skip(0, "=1+1.jpg", "empty", "@x")]).decode())))
    assert rows[1] == ["'=1+1.jpg", "empty", "1", "0", "'@x"]


def test_more_shards_are_read_than_a_process_may_open(tmp_path: Path) -> None:
    for k in range(100):
        (tmp_path / f"{k:03d}.tar").write_bytes(member("0.jpg", PICTURES[0]) + bytes(1024))
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 80, limits[1]))
    try:
        assert sound(Shards(str(tmp_path))) == (PICTURES[:1] * 100, {})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_archive_that_vanished_stops_the_run(tmp_path: Path) -> None:
    source = Zip(written(tmp_path / "x.zip", zipped()))
    (tmp_path / "x.zip").unlink()
    files._opened.cache_clear()
    with pytest.raises(InputError, match="No such file") as caught:
        source.read(0)
    assert not isinstance(caught.value, Damaged)  # no substitute would be any better

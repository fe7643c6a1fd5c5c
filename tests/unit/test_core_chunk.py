"""``ostro._core``'s digests and chunks from Python: buffers, states, errors. What they compute is tested in ``rust/chunk``."""

from __future__ import annotations

import hashlib
import struct
import threading

import pytest

from ostro._core import (
    Chunker,
    Corrupt,
    DigestPool,
    Hasher,
    Verifier,
    combined_checksum,
    composite_checksum,
    inspect_image,
    multipart_etag,
    slo_etag,
    update_together,
    verify_chunk,
)

DATA = bytes(range(256)) * 5000


def test_any_buffer_in_any_pieces() -> None:
    views: list[bytes | bytearray | memoryview] = [
        DATA[:7],
        memoryview(DATA)[7:70_000],
        bytearray(DATA[70_000:70_001]),
        memoryview(bytearray(DATA))[70_001:],
    ]
    hasher = Hasher("md5", "sha512")
    for view in views:
        hasher.update(view)
    assert hasher.length == len(DATA)
    assert hasher.hexdigest("md5") == hashlib.md5(DATA).hexdigest()
    assert hasher.digests() == {"md5": hashlib.md5(DATA).hexdigest(), "sha512": hashlib.sha512(DATA).hexdigest()}
    assert hasher.digest("md5") == hashlib.md5(DATA).digest()


def test_buffers_that_aren_t_bytes_are_refused() -> None:
    with pytest.raises(BufferError):
        Hasher("md5").update(memoryview(DATA)[::2])
    with pytest.raises(TypeError):
        Hasher("md5").update("text")  # type: ignore[arg-type]


def test_a_state_continues_elsewhere() -> None:
    names = ("md5", "sha1", "sha256", "sha512", "blake3", "crc32c", "crc64nvme")
    whole = Hasher(*names)
    whole.update(DATA)
    part = Hasher(*names)
    part.update(DATA[:12_345])
    state = part.state()
    part.update(b"something else")
    resumed = Hasher.from_state(state)
    assert resumed.algorithms == list(names) and resumed.length == 12_345
    resumed.update(DATA[12_345:])
    assert resumed.digests() == whole.digests()
    with pytest.raises(ValueError, match="damaged"):
        Hasher.from_state(state[:-5])


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="crc64nvme"):
        Hasher("md6")
    with pytest.raises(KeyError, match="sha1"):
        Hasher("md5").hexdigest("sha1")


def test_chunks_are_named_by_their_bytes() -> None:
    chunker = Chunker(100_000, digests=["md5"])
    chunks: dict[int, bytearray] = {}
    names: dict[int, str] = {}
    for start in range(0, len(DATA), 33_333):
        feed = DATA[start : start + 33_333]
        for piece in chunker.feed(feed):
            chunk = chunks.setdefault(piece.index, bytearray())
            assert len(chunk) == piece.offset
            chunk += feed[piece.start : piece.end]
            if piece.chunk_id is not None:
                names[piece.index] = piece.chunk_id
    last = chunker.finish()
    assert last is not None and last[1] == len(DATA) % 100_000 and chunker.finish() is None
    names[len(names)] = last[0]
    assert b"".join(chunks.values()) == DATA and chunker.hexdigest("md5") == hashlib.md5(DATA).hexdigest()
    for index, chunk in chunks.items():
        hasher = Hasher("blake3")
        hasher.update(chunk)
        assert hasher.hexdigest("blake3") == names[index]


def test_an_image_with_a_backing_file_is_dangerous() -> None:
    plain = b"QFI\xfb" + struct.pack(">IQIIQ", 2, 0, 0, 16, 1 << 30) + bytes(512)
    assert inspect_image(plain) == {
        "format": "qcow2",
        "virtual_size_bytes": 1 << 30,
        "backing_file": False,
        "data_file": False,
        "encrypted": False,
        "also": [],
        "safe": True,
        "dangers": [],
    }
    backed = b"QFI\xfb" + struct.pack(">IQIIQ", 2, 512, 11, 16, 1 << 30) + bytes(480) + b"/etc/shadow"
    assert inspect_image(backed)["dangers"] == ["qcow2 image with a backing file"]


def test_threads_hash_side_by_side() -> None:
    hasher = Hasher("sha256")

    def feed() -> None:
        for _ in range(10):
            hasher.update(bytes(100_000))

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hasher.hexdigest("sha256") == hashlib.sha256(bytes(4_000_000)).hexdigest()


def test_streams_in_company_have_their_own_digests() -> None:
    pool = DigestPool()
    feeds = [DATA[number : 300_000 + number * 1000] for number in range(20)]
    pooled = [Hasher("md5", "sha256") for _ in feeds]

    def feed(number: int) -> None:
        for start in range(0, len(feeds[number]), 50_000):
            pool.update(pooled[number], memoryview(feeds[number])[start : start + 50_000])

    threads = [threading.Thread(target=feed, args=(number,)) for number in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [Hasher("md5") for _ in feeds]
    update_together(list(zip(together, feeds, strict=True)))
    for number, data in enumerate(feeds):
        assert pooled[number].hexdigest("md5") == together[number].hexdigest("md5") == hashlib.md5(data).hexdigest()
        assert pooled[number].hexdigest("sha256") == hashlib.sha256(data).hexdigest()
    with pytest.raises(ValueError, match="twice"):
        update_together([(together[0], b""), (together[0], b"")])


def test_a_chunk_is_checked_when_read() -> None:
    hasher = Hasher("blake3")
    hasher.update(DATA)
    name = hasher.hexdigest("blake3")
    verify_chunk(DATA, name)
    verifier = Verifier(name)
    verifier.update(DATA[:1000])
    with pytest.raises(Corrupt):
        verifier.finish()
    verifier.update(DATA[1000:])
    verifier.finish()
    with pytest.raises(Corrupt):
        verify_chunk(DATA[1:], name)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        verify_chunk(DATA, "abc")


def test_chunks_cut_by_content() -> None:
    chunker = Chunker.by_content(1000, 4000, 20_000)
    pieces = chunker.feed(DATA)
    assert all(1000 <= piece.end - piece.start <= 20_000 for piece in pieces[:-1])
    with pytest.raises(ValueError, match="min < target < max"):
        Chunker.by_content(1, 2, 3)


def test_checksums_of_parts() -> None:
    md5s = [hashlib.md5(part).digest() for part in (b"a", b"b")]
    assert multipart_etag(md5s) == hashlib.md5(b"".join(md5s)).hexdigest() + "-2"
    etags = [md5.hex() for md5 in md5s]
    assert (
        slo_etag([(etags[0], None), (etags[1], "0-0")])
        == hashlib.md5(f"{etags[0]}{etags[1]}:0-0;".encode()).hexdigest()
    )
    assert composite_checksum("sha256", md5s) == hashlib.sha256(b"".join(md5s)).digest()
    whole = Hasher("crc64nvme")
    whole.update(DATA)
    parts = []
    for part in (DATA[:777], DATA[777:]):
        hasher = Hasher("crc64nvme")
        hasher.update(part)
        parts.append((hasher.digest("crc64nvme"), len(part)))
    assert combined_checksum("crc64nvme", parts) == whole.digest("crc64nvme")
    with pytest.raises(ValueError, match="can't be put together"):
        combined_checksum("md5", [])

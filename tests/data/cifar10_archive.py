"""A small CIFAR-10 archive in the published format, and a local server for it."""

import io
import struct
import tarfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
from image_files import noise

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def make_batch(seed: int, count: int = 20) -> tuple[np.ndarray, list[int]]:
    return noise(count, 3072, seed=seed), noise(count, seed=seed + 100, top=10).tolist()


def python2_pickle(value: object) -> bytes:
    """What Python 2's cPickle wrote with protocol 2 in 2009: byte strings, and arrays by numpy.core.multiarray."""

    def string(text: bytes) -> bytes:
        return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text

    def whole(number: int) -> bytes:
        return b"K" + bytes([number]) if number < 256 else b"J" + struct.pack("<i", number)

    def written(item: object) -> bytes:
        if isinstance(item, bytes):
            return string(item)
        if isinstance(item, int):
            return whole(item)
        if isinstance(item, list):
            return b"](" + b"".join(map(written, item)) + b"e"
        if isinstance(item, dict):
            return b"}(" + b"".join(written(key) + written(each) for key, each in item.items()) + b"u"
        assert isinstance(item, np.ndarray)
        assert item.dtype == np.uint8
        made = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\0\x85" + string(b"b") + b"\x87R"
        kind = b"cnumpy\ndtype\n" + string(b"u1") + b"K\0K\x01\x87R" + b"(K\x03" + string(b"|") + b"NNN"
        kind += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        shape = b"".join(map(whole, item.shape)) + b"\x86"
        return made + b"(K\x01" + shape + kind + b"\x89" + string(item.tobytes()) + b"tb"

    return b"\x80\x02" + written(value) + b"."


def tar_of(members: dict[str, bytes], *others: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for entry, content in others:
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


class Server(HTTPServer):
    """Answers any request with `content`, on this machine alone, and counts them."""

    content = b""
    requests = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass

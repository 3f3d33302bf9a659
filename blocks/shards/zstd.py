"""Reading zstd: the stream that `.jsonl.zst` files are read through.

zstandard's own reader stops silently where a truncated file ends and after the first of several frames (what `pzstd`
and `cat a.zst b.zst` write), and it has no lines. This one reads every frame, raises EOFError on a truncated file as
gzip does, and allows the long windows that dumps of the web are compressed with.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_WINDOW = 1 << 31
"""Bytes of history that a frame may ask for: what `zstd --long=31` needs; zstandard refuses more than 128 MiB."""

_BLOCK = 1 << 14
"""Compressed bytes decoded at a time; they are decoded whole, so this bounds how far hostile data can blow up."""


class _ZstdFrames(io.RawIOBase):
    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        while not self._ready:
            block = self._compressed or self._source.read(_BLOCK)
            if not block:
                if self._frame is not None:
                    raise EOFError("the file ends in the middle of a zstd frame")
                return 0
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            self._ready = memoryview(self._frame.decompress(block))
            self._compressed = b""
            if self._frame.eof:
                self._compressed, self._frame = self._frame.unused_data, None
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._source.close()
        super().close()


def open_zstd(source: IO[bytes]) -> io.BufferedReader:
    """Read `source` decompressed; closing the result closes it too.

    Reading raises `zstandard.ZstdError` on damaged data and EOFError when it ends early.
    """
    return io.BufferedReader(_ZstdFrames(source), 1 << 17)

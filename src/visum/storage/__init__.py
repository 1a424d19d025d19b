"""Bytes on disk: atomic writes, digests and locks (``files``), and the content-addressed store (``store``)."""

from visum.storage.files import (
    atomic_folder,
    check_writable,
    digest_bytes,
    digest_file,
    finite,
    lock,
    write_atomic,
    write_json,
)
from visum.storage.store import Space, Writer, cache_folder, cache_limit, evict, space

__all__ = [
    "Space",
    "Writer",
    "atomic_folder",
    "cache_folder",
    "cache_limit",
    "check_writable",
    "digest_bytes",
    "digest_file",
    "evict",
    "finite",
    "lock",
    "space",
    "write_atomic",
    "write_json",
]

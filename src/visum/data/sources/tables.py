"""Files of rows as columns: CSV, Parquet and JSON Lines. Nothing here knows what the columns mean.

Cells are text, numbers, truth values, lists of text, or None. Anything else (nested structures, dates, Arrow extension types)
is never built: its column is named in ``odd``, so that a message can say why it cannot be used.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visum.data.sources.words import clean, counted, listed, quoted
from visum.errors import DataError

TABLE_ENDINGS = frozenset(("csv", "tsv", "parquet", "jsonl", "json"))
MAX_ROWS = 20_000_000
MAX_PARQUET_BYTES = 4 << 30  # uncompressed, as the file itself states
MAX_JSON_BYTES = 1 << 30
_DELIMITERS = ",;\t"
_PARQUET_ROWS = 1 << 20  # a batch; larger ones save nothing


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length.

    Attributes:
        name: the file, for messages.
        columns: name → cells.
        odd: columns that cannot be read → what they hold.
    """

    name: str
    columns: dict[str, list[Any]]
    odd: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))


def read_csv(path: str, wanted: Sequence[str] = ()) -> Table:
    """A CSV with a header: comma, semicolon or tab; UTF-8 with or without a byte order mark, or UTF-16 with one.

    Bytes that are no UTF-8 stay what they are (surrogate escapes), so that paths of any bytes can be written.

    Args:
        wanted: names that the right delimiter brings out in the header.

    Raises:
        DataError: empty, repeated names, rows that do not fit the header, or more than ``MAX_ROWS``.
    """
    with Path(path).open("rb") as file:
        mark = file.read(2)
    encoding = "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    with Path(path).open(encoding=encoding, errors=errors, newline="") as text:
        try:
            return _csv(path, text, wanted)
        except (csv.Error, UnicodeError) as error:
            raise DataError(
                f"{quoted(path)} is no CSV that can be read: {error}",
                allowed="UTF-8 text with a header, cells of at most 128 kB, quotation marks closed",
                next="save it again as CSV UTF-8",
            ) from error


def _csv(path: str, text: Any, wanted: Sequence[str]) -> Table:
    line = text.readline(1 << 20)
    if not line.strip():
        raise DataError(
            f"{quoted(path)} has no header",
            allowed="a first line of column names",
            next="a first line such as path,label",
        )
    splits = {d: [cell.strip() for cell in next(csv.reader([line], delimiter=d))] for d in _DELIMITERS}
    delimiter = max(splits, key=lambda d: (bool(set(wanted) & set(splits[d])), len(splits[d])))
    header = splits[delimiter]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(
            f"{quoted(path)} names {listed(repeated)} more than once in its header",
            allowed="column names that differ",
            next="rename one of them",
        )
    columns: list[list[Any]] = [[] for _ in header]
    reader, width = csv.reader(text, delimiter=delimiter), len(header)
    for row in reader:
        if not row:
            continue
        if len(row) != width:
            if any(row[width:]):
                raise _too_wide(path, reader.line_num + 1, len(row), width, delimiter)
            row = [*row, *[""] * width][:width]
        for cells, cell in zip(columns, row, strict=True):
            cells.append(cell)
        if len(columns[0]) > MAX_ROWS:
            break
    _check_rows(path, len(columns[0]))
    return Table(path, dict(zip(map(clean, header), columns, strict=True)))


def _too_wide(path: str, line: int, cells: int, width: int, delimiter: str) -> DataError:
    return DataError(
        f"line {line} of {quoted(path)} has {cells} cells, its header {width}",
        allowed=f"as many as the header, separated by {delimiter!r}",
        next='quotation marks around cells that contain the separator: "a, b"',
    )


def read_parquet(path: str, wanted: Sequence[str] = ()) -> Table:
    """A Parquet file; text is read as a dictionary, so that a value repeated a million times is held once.

    Raises:
        DataError: damaged, or beyond ``MAX_ROWS`` or ``MAX_PARQUET_BYTES``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        readable, odd, texts = [], {}, []
        for column in schema:
            if _is_text(column.type):
                texts.append(column.name)
            if _is_plain(column.type):
                readable.append(column.name)
            else:
                odd[clean(column.name)] = str(column.type)[:80]
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            head = file.metadata
            size = sum(head.row_group(g).total_byte_size for g in range(head.num_row_groups))
            _check_rows(path, head.num_rows)
            if size > MAX_PARQUET_BYTES:
                raise _too_large(path, size, MAX_PARQUET_BYTES)
            columns: dict[str, list[Any]] = {name: [] for name in readable}
            for batch in file.iter_batches(_PARQUET_ROWS, columns=readable):
                for name in readable:
                    columns[name].extend(_cells(batch.column(name)))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{quoted(path)} is no Parquet file that can be read: {quoted(str(error))}",
            allowed="a whole, unencrypted Parquet file",
            next="write or download it again",
        ) from error
    return Table(path, {clean(name): cells for name, cells in columns.items()}, odd)


def _cells(array: Any) -> list[Any]:
    if not hasattr(array, "dictionary"):
        return list(array.to_pylist())
    values = array.dictionary.to_pylist()
    return [None if at is None else values[at] for at in array.indices.to_pylist()]


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_plain(kind: Any) -> bool:
    """Whether cells of this type are built; an extension type never is, whatever it is made of."""
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _is_text(kind.value_type)
    tests = (_is_text, types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    return any(test(kind) for test in tests)


def read_jsonl(path: str, wanted: Sequence[str] = ()) -> Table:
    """JSON Lines: one object a line; a name that a line lacks is None there.

    Raises:
        DataError: a line that is no JSON object, or a file beyond ``MAX_JSON_BYTES``.
    """
    check_size(path)
    records = []
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                records.append(parse(line, f"line {number} of {quoted(path)}"))
    return from_records(path, records)


def parse(data: bytes, where: str) -> Any:
    """JSON from hostile bytes.

    Raises:
        DataError: it is none, or nested too deeply.
    """
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{where} is no JSON: {why}", allowed="UTF-8 JSON", next="write it again") from error


def check_size(path: str) -> None:
    """Refuse JSON that would not fit in memory once parsed."""
    size = Path(path).stat().st_size
    if size > MAX_JSON_BYTES:
        raise _too_large(path, size, MAX_JSON_BYTES)


def from_records(path: str, records: Iterable[Any]) -> Table:
    """Columns of the objects' members.

    Raises:
        DataError: a record is no object, or there are more than ``MAX_ROWS``.
    """
    columns: dict[str, list[Any]] = {}
    odd: dict[str, str] = {}
    rows = 0
    for row, record in enumerate(records):
        rows = row + 1
        if not isinstance(record, dict):
            raise DataError(
                f"record {rows} of {quoted(path)} is {type(record).__name__}, not an object",
                allowed='objects such as {"path": "a.jpg", "label": "cat"}',
                next="one object per image",
            )
        for name, cell in record.items():
            key = clean(name)
            if not _is_cell(cell):
                odd[key] = "lists of numbers or nested objects" if isinstance(cell, list) else "nested objects"
                continue
            cells = columns.setdefault(key, [])
            cells.extend([None] * (row - len(cells)))
            cells[row:] = [cell]
    _check_rows(path, rows)
    for cells in columns.values():
        cells.extend([None] * (rows - len(cells)))
    return Table(path, {name: cells for name, cells in columns.items() if name not in odd}, odd)


def _is_cell(cell: Any) -> bool:
    if isinstance(cell, list):
        return all(isinstance(each, str) for each in cell)
    return cell is None or isinstance(cell, (str, int, float))


def _check_rows(path: str, rows: int) -> None:
    if rows > MAX_ROWS:
        raise DataError(
            f"{quoted(path)} has {rows:,} rows",
            allowed=f"at most {MAX_ROWS:,}",
            next="a part of it",
        )
    if not rows:
        raise DataError(
            f"{quoted(path)} has no rows", allowed="one row per image", next="write it again, or another table"
        )


def _too_large(path: str, size: int, limit: int) -> DataError:
    return DataError(
        f"{quoted(path)} holds {counted(size >> 20, 'MB', 'MB')} of cells",
        allowed=f"at most {limit >> 20:,} MB",
        next="only the columns of paths, labels, splits and groups",
    )

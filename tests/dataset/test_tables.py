from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featstore.dataset.tables import read_table
from featstore.errors import DataError

KNOWN = ("sample_index", "label")
CELL = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=12).map(str.strip)


def read(path: Path, data: bytes):
    path.write_bytes(data)
    return read_table(path, known=KNOWN, required=[("sample_index",), ("label",)])


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tables") / "labels.csv"


@given(
    rows=st.lists(st.tuples(CELL.filter(bool), CELL, CELL), max_size=6),
    delimiter=st.sampled_from(",;\t"),
    ends=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    bom=st.booleans(),
    last_end=st.booleans(),
    pad=st.sampled_from(["", " "]),
)
def test_every_dialect_reads_the_same(file, rows, delimiter, ends, quoting, bom, last_end, pad):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ends, quoting=quoting)
    writer.writerows([("sample_index", "label", "remark"), *[tuple(pad + cell for cell in row) for row in rows]])
    text = out.getvalue() if last_end else out.getvalue().removesuffix(ends)
    table = read(file, (b"\xef\xbb\xbf" if bom else b"") + text.encode())
    assert table.columns == ("sample_index", "label", "remark")
    assert [tuple(row.cells.values()) for row in table.rows] == rows
    assert [row.line for row in table.rows] == list(range(2, len(rows) + 2))


@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_a_table_or_a_plain_error(file, data):
    for head in (b"", b"sample_index,label\n"):
        try:
            said = str(read(file, head + data).path)
        except DataError as error:
            said = str(error)
        assert file.name in said


def test_column_names_are_found_in_any_case_and_others_keep_their_spelling(file):
    table = read(file, b"Sample Index; LABEL ;Patient ID;\nimg.png;A;7;\n")
    assert table.columns == ("sample_index", "label", "Patient ID")
    assert dict(table.rows[0].cells) == {"sample_index": "img.png", "label": "A", "Patient ID": "7"}


def test_blank_lines_short_rows_and_excels_first_line_are_understood(file):
    table = read(file, b'sep=;\r\nsample_index;label\r\n\r\n;\r\na.png\r\n" b.png " ; A \r\n')
    assert [(row.line, row.get("sample_index"), row.get("label")) for row in table.rows] == [
        (5, "a.png", ""),
        (6, "b.png", "A"),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\r\n", "empty"),
        (b",,\n", "empty"),
        (b"name,class\na,b\n", "'sample_index'.*name, class"),
        (b"img_0000.png,A\n", "img_0000.png, A.*names the columns"),
        (b"sample_index,label,label\n", "more than one column named 'label'"),
        (b"sample_index,label\na.png,A,B\n", "line 2 .* has 3 cells.*expected 2"),
        (b"sample_index,label\na.png,A\nb.png,\xe9\n", "byte 33 is 0xe9, on line 3.*UTF-8"),
        (b"\xef\xbb\xbfsample_index,label\n\xff", "byte 22 is 0xff, on line 2"),
        ("sample_index,label\n".encode("utf-16"), "UTF-16"),
        (b"sample_index,label\na\0,b\n", "null bytes"),
        (b'sample_index,label\na.png,A\nb.png,"A\nc.png,A\n', "opens on line 3 .* never closed"),
        (b"sample_index,label\na," + b"x" * 200_000, "field larger"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(file, data, words):
    with pytest.raises(DataError, match=words):
        read(file, data)


def test_a_wide_table_is_read_at_once(file):
    """Its first line is too long for one cell, which it is where the delimiter is taken for another."""
    names = ["sample_index", "label", *(f"gene_{number}" for number in range(50_000))]
    started = time.perf_counter()
    table = read(file, (";".join(names) + "\na.png;A\n").encode())
    assert time.perf_counter() - started < 10  # comparing each column with each takes a minute
    assert table.columns == tuple(names)
    assert table.rows[0].get("label") == "A"


def test_of_many_columns_the_first_are_told(file):
    names = [f"gene_{number}" for number in range(3000)]
    with pytest.raises(DataError, match=r"its columns: gene_0, gene_1, gene_2, gene_3, gene_4 and 2995 more\)"):
        read(file, ",".join(names).encode())
    with pytest.raises(DataError, match=r"more than one column named 'gene_0', .* and 2995 more"):
        read(file, ",".join(["sample_index", "label", *names, *names]).encode())


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv can't be read"):
        read_table(tmp_path / "nowhere.csv", known=KNOWN)

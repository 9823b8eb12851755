"""Canonical encoding, and refusal of everything that is not canonical."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k3s_daas.bcs import BcsError, Reader, Writer


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (16384, "808001"), (2**31 - 1, "ffffffff07")],
)
def test_uleb128_is_the_shortest_form(value: int, encoded: str) -> None:
    assert Writer().uleb128(value).finish().hex() == encoded
    assert Reader(bytes.fromhex(encoded)).uleb128() == value


@pytest.mark.parametrize("encoded", ["8000", "80", "", "ffffffff08", "ffffffffff01", "808080808000"])
def test_other_uleb128_is_refused(encoded: str) -> None:
    with pytest.raises(BcsError):
        Reader(bytes.fromhex(encoded)).uleb128()


def test_every_kind_of_value_has_its_golden_bytes() -> None:
    writer = Writer().u8(1).u16(2).u32(3).u64(4).boolean(True).fixed(b"ab", 2)
    writer.address(bytes(31) + b"\x02").byte_vector(b"xyz").string("ü")
    writer.vector([1, 2], Writer.u16).option(None, Writer.u8).option(7, Writer.u8)
    assert writer.finish().hex() == (
        "01" + "0200" + "03000000" + "0400000000000000" + "01" + "6162"
        "" + "00" * 31 + "02" + "0378797a" + "02c3bc" + "02" + "01000200" + "00" + "0107"
    )


@given(st.lists(st.tuples(st.text(), st.binary(), st.integers(0, 2**64 - 1), st.booleans())))
def test_what_is_written_is_read_and_is_all_there_is(rows: list[tuple[str, bytes, int, bool]]) -> None:
    def write(writer: Writer, row: tuple[str, bytes, int, bool]) -> None:
        writer.string(row[0]).byte_vector(row[1]).u64(row[2]).boolean(row[3])

    def read(reader: Reader) -> tuple[str, bytes, int, bool]:
        return reader.string(), reader.byte_vector(), reader.u64(), reader.boolean()

    reader = Reader(Writer().vector(rows, write).finish())
    assert reader.vector(read) == rows
    reader.finish()


@given(st.binary(max_size=40))
def test_what_is_accepted_has_no_second_encoding(data: bytes) -> None:
    reader = Reader(data)
    try:
        texts = reader.vector(Reader.string)
        number = reader.option(Reader.u16)
        reader.finish()
    except BcsError:
        return
    assert Writer().vector(texts, Writer.string).option(number, Writer.u16).finish() == data


@pytest.mark.parametrize(
    ("read", "data", "message"),
    [
        (Reader.u64, b"1234567", "8 bytes expected"),
        (Reader.boolean, b"\x02", "not a boolean"),
        (Reader.string, b"\x01\xff", "not UTF-8"),
        (Reader.byte_vector, b"\x05abc", "5 bytes expected"),
        (Reader.address, b"\x01" * 31, "32 bytes expected"),
        (lambda reader: reader.option(Reader.u8), b"\x02\x01\x01", "option holds 2"),
        (lambda reader: reader.vector(Reader.u8), b"\xff\xff\xff\xff\x07", "items expected"),
    ],
)
def test_damaged_values_are_refused(read: Callable[[Reader], object], data: bytes, message: str) -> None:
    with pytest.raises(BcsError, match=message):
        read(Reader(data))


def test_trailing_bytes_are_refused() -> None:
    reader = Reader(b"\x01\x02")
    reader.u8()
    with pytest.raises(BcsError, match="1 bytes follow"):
        reader.finish()


@pytest.mark.parametrize(
    "write",
    [
        lambda: Writer().u8(256),
        lambda: Writer().u64(-1),
        lambda: Writer().uleb128(2**31),
        lambda: Writer().fixed(b"a", 2),
        lambda: Writer().address(b"short"),
    ],
)
def test_a_value_that_does_not_fit_its_type_is_a_programming_error(write: Callable[[], Writer]) -> None:
    with pytest.raises(ValueError, match=r"fit|expected"):
        write()

"""Text forms and request ids."""

import pytest

from k3s_daas.ids import from_hex, new_request_id, request_id_text, request_id_time_ms, to_hex


def test_an_address_keeps_its_leading_zeros() -> None:
    address = bytes(31) + b"\x02"
    assert to_hex(address) == "0x" + "0" * 63 + "2"
    assert from_hex(to_hex(address)) == address


def test_upper_case_digits_mean_the_same() -> None:
    assert from_hex("0x" + "AB" * 32) == b"\xab" * 32


@pytest.mark.parametrize(
    "text",
    [
        *("", "0x", "0x2", "ab" * 32, "0x" + "ab" * 31, "0x" + "ab" * 33),
        *("0x" + "g" * 64, "0x" + "a b" * 21 + "a", "0x" + "ab" * 32 + "\n", "0x" + "\u0661" * 64),
    ],
)
def test_other_forms_are_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="0x and 64"):
        from_hex(text)


def test_to_hex_takes_32_bytes_only() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        to_hex(bytes(20))


def test_a_request_id_carries_its_time_and_is_unguessable() -> None:
    request_id = new_request_id(1_763_864_000_123, lambda size: b"r" * size)
    assert request_id == bytes.fromhex("0000019aae7cb67b") + b"r" * 8
    assert request_id_time_ms(request_id) == 1_763_864_000_123
    assert request_id_text(request_id) == "0000019aae7cb67b7272727272727272"
    assert new_request_id(1) != new_request_id(1)


def test_a_request_id_has_16_bytes() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        request_id_text(bytes(15))
    with pytest.raises(ValueError, match="16 bytes"):
        request_id_time_ms(bytes(17))

/// `sui::address` whose conversions from and to numbers are in Move: this VM's natives turn the bytes round.
#[defines_primitive(address)]
module sui::address;

use std::ascii;
use std::bcs;
use std::string;
use sui::hex;

public use fun sui::object::id_from_address as address.to_id;

const LENGTH: u64 = 32;
const EAddressParseError: u64 = 0;

public fun to_u256(a: address): u256 {
    let bytes = to_bytes(a);
    let mut number = 0u256;
    let mut i = 0;
    while (i < LENGTH) {
        number = (number << 8) | (bytes[i] as u256);
        i = i + 1;
    };
    number
}

public fun from_u256(n: u256): address {
    let mut bytes = bcs::to_bytes(&n);
    bytes.reverse();
    from_bytes(bytes)
}

public fun to_bytes(a: address): vector<u8> { bcs::to_bytes(&a) }
public fun to_ascii_string(a: address): ascii::String { ascii::string(hex::encode(to_bytes(a))) }
public fun to_string(a: address): string::String { string::from_ascii(to_ascii_string(a)) }
public fun length(): u64 { LENGTH }
public fun max(): u256 { 0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF }

public fun from_ascii_bytes(bytes: &vector<u8>): address {
    assert!(bytes.length() == 2 * LENGTH, EAddressParseError);
    let mut address = vector[];
    let mut i = 0;
    while (i < 2 * LENGTH) {
        address.push_back((digit(bytes[i]) << 4) | digit(bytes[i + 1]));
        i = i + 2;
    };
    from_bytes(address)
}

fun digit(character: u8): u8 {
    if (character >= 48 && character <= 57) character - 48
    else if (character >= 65 && character <= 70) character - 55
    else if (character >= 97 && character <= 102) character - 87
    else abort EAddressParseError
}

public native fun from_bytes(bytes: vector<u8>): address;

/// Calls to `sui::ecdsa_r1` are linked to this module.
module sui::ecdsa_r1_by_reference;

use sui::ecdsa_r1;

public fun secp256r1_ecrecover(signature: &vector<u8>, msg: &vector<u8>, hash: u8): vector<u8> {
    ecdsa_r1::secp256r1_ecrecover(*signature, *msg, hash)
}
public fun secp256r1_verify(
    signature: &vector<u8>,
    public_key: &vector<u8>,
    msg: &vector<u8>,
    hash: u8,
): bool {
    ecdsa_r1::secp256r1_verify(*signature, *public_key, *msg, hash)
}

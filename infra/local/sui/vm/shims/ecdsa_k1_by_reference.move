/// Calls to `sui::ecdsa_k1` are linked to this module.
module sui::ecdsa_k1_by_reference;

use sui::ecdsa_k1;

public fun secp256k1_ecrecover(signature: &vector<u8>, msg: &vector<u8>, hash: u8): vector<u8> {
    ecdsa_k1::secp256k1_ecrecover(*signature, *msg, hash)
}
public fun decompress_pubkey(pubkey: &vector<u8>): vector<u8> { ecdsa_k1::decompress_pubkey(*pubkey) }
public fun secp256k1_verify(
    signature: &vector<u8>,
    public_key: &vector<u8>,
    msg: &vector<u8>,
    hash: u8,
): bool {
    ecdsa_k1::secp256k1_verify(*signature, *public_key, *msg, hash)
}

/// Natives that need the VM's cryptography.
module gallery::seals;

use sui::{ecdsa_k1, ecdsa_r1, ed25519, hash, hmac};

public fun ed25519_is_valid(signature: vector<u8>, key: vector<u8>, message: vector<u8>): bool {
    ed25519::ed25519_verify(&signature, &key, &message)
}
public fun k1_is_valid(signature: vector<u8>, key: vector<u8>, message: vector<u8>): bool {
    ecdsa_k1::secp256k1_verify(&signature, &key, &message, 1)
}
public fun r1_is_valid(signature: vector<u8>, key: vector<u8>, message: vector<u8>): bool {
    ecdsa_r1::secp256r1_verify(&signature, &key, &message, 1)
}
public fun blake2b(data: vector<u8>): vector<u8> { hash::blake2b256(&data) }
public fun keccak(data: vector<u8>): vector<u8> { hash::keccak256(&data) }
public fun sha2(data: vector<u8>): vector<u8> { std::hash::sha2_256(data) }
public fun sha3(data: vector<u8>): vector<u8> { std::hash::sha3_256(data) }
public fun mac(key: vector<u8>, data: vector<u8>): vector<u8> { hmac::hmac_sha3_256(&key, &data) }
public fun bls(signature: vector<u8>, key: vector<u8>, message: vector<u8>): bool {
    sui::bls12381::bls12381_min_sig_verify(&signature, &key, &message)
}

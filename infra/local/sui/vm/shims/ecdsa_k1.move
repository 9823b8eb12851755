/// These natives take vectors by value; `ecdsa_k1_by_reference` has the framework's signatures.
module sui::ecdsa_k1;

public native fun secp256k1_ecrecover(signature: vector<u8>, msg: vector<u8>, hash: u8): vector<u8>;
public native fun decompress_pubkey(pubkey: vector<u8>): vector<u8>;
public native fun secp256k1_verify(
    signature: vector<u8>,
    public_key: vector<u8>,
    msg: vector<u8>,
    hash: u8,
): bool;

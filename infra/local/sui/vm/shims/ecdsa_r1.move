/// These natives take vectors by value; `ecdsa_r1_by_reference` has the framework's signatures.
module sui::ecdsa_r1;

public native fun secp256r1_ecrecover(signature: vector<u8>, msg: vector<u8>, hash: u8): vector<u8>;
public native fun secp256r1_verify(
    signature: vector<u8>,
    public_key: vector<u8>,
    msg: vector<u8>,
    hash: u8,
): bool;

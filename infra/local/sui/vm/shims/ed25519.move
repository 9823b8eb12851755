/// This VM's native takes vectors by value; `ed25519_by_reference` has the framework's signature.
module sui::ed25519;

public native fun ed25519_verify(signature: vector<u8>, public_key: vector<u8>, msg: vector<u8>): bool;

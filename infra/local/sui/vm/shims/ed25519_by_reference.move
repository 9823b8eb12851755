/// Calls to `sui::ed25519` are linked to this module.
module sui::ed25519_by_reference;

public fun ed25519_verify(signature: &vector<u8>, public_key: &vector<u8>, msg: &vector<u8>): bool {
    sui::ed25519::ed25519_verify(*signature, *public_key, *msg)
}

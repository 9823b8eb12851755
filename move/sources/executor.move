/// An executor as a cluster knows it: the key that requests are sealed for, in its present generation.
///
/// The executor announces its key itself. Its signature is kept for those who pinned the executor's signing key: they
/// check it off chain, and take no key without it, whatever a chain endpoint tells them.
module k3s_daas::executor;

// === Constants ===

/// ML-KEM-768 encapsulation key and X25519 public key.
const HPKE_KEY_BYTES: u64 = 1_216;
/// Flag, signature and public key of any simple scheme.
const MAX_SIGNATURE_BYTES: u64 = 200;

// === Structs ===

public struct Executor has copy, drop, store {
    /// Empty until one was announced.
    hpke_key: vector<u8>,
    /// How many keys were announced.
    generation: u64,
    /// Over the announcement, as a personal message of the executor's address.
    signature: vector<u8>,
}

// === Public-Package Functions ===

/// Without a key: it can be assigned no command yet.
public(package) fun new(): Executor {
    Executor { hpke_key: vector[], generation: 0, signature: vector[] }
}

public(package) fun is_hpke_key(key: &vector<u8>): bool {
    key.length() == HPKE_KEY_BYTES
}

public(package) fun is_signature(signature: &vector<u8>): bool {
    !signature.is_empty() && signature.length() <= MAX_SIGNATURE_BYTES
}

/// Generations grow by one: none can be skipped, and none can come back.
public(package) fun is_next(self: &Executor, generation: u64): bool {
    generation > 0 && generation - 1 == self.generation
}

public(package) fun announce(
    self: &mut Executor,
    hpke_key: vector<u8>,
    generation: u64,
    signature: vector<u8>,
) {
    self.hpke_key = hpke_key;
    self.generation = generation;
    self.signature = signature;
}

public(package) fun has_key(self: &Executor): bool { self.generation > 0 }

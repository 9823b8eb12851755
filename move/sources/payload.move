/// Sealed bodies: in a transaction, in chunks that each fit an argument, or off chain, known by their hash.
module k3s_daas::payload;

use std::hash;

// === Constants ===

const MAX_CHUNK_BYTES: u64 = 16_000;
/// More cannot be needed: 8 of them are more than the largest payload that a policy allows.
const MAX_CHUNKS: u64 = 8;

const HASH_BYTES: u64 = 32;
const MAX_REFERENCE_BYTES: u64 = 128;
/// 16 MiB: far more than any body that an API server takes.
const MAX_REFERENCED_BYTES: u64 = 16_777_216;

// === Structs ===

/// What the chain remembers of a body.
public struct Payload has copy, drop {
    hash: vector<u8>,
    size: u64,
    /// Where it lies off chain; empty if it is in the transaction.
    reference: vector<u8>,
}

// === Public-Package Functions ===

/// Neither too many chunks, nor one that is too long, nor more than that in all.
public(package) fun fits(chunks: &vector<vector<u8>>, max_bytes: u64): bool {
    let count = chunks.length();
    if (count > MAX_CHUNKS) return false;
    let mut size = 0;
    let mut i = 0;
    while (i < count) {
        let length = chunks[i].length();
        if (length > MAX_CHUNK_BYTES) return false;
        size = size + length;
        i = i + 1;
    };
    size <= max_bytes
}

/// Nothing, or nothing in a part of it: ciphertext is never empty.
public(package) fun has_gap(chunks: &vector<vector<u8>>): bool {
    let count = chunks.length();
    if (count == 0) return true;
    let mut i = 0;
    while (i < count) {
        if (chunks[i].is_empty()) return true;
        i = i + 1;
    };
    false
}

/// SHA3-256 of the concatenated SHA3-256 of the chunks. (Chunks are never concatenated: that would cost far more gas
/// than hashing them.)
public(package) fun inline(chunks: &vector<vector<u8>>): Payload {
    let mut size = 0;
    let mut hashes = vector[];
    let mut i = 0;
    while (i < chunks.length()) {
        size = size + chunks[i].length();
        hashes.append(hash::sha3_256(chunks[i]));
        i = i + 1;
    };
    Payload { hash: hash::sha3_256(hashes), size, reference: vector[] }
}

public(package) fun is_reference(reference: &vector<u8>, hash: &vector<u8>): bool {
    !reference.is_empty() && reference.length() <= MAX_REFERENCE_BYTES && hash.length() == HASH_BYTES
}

public(package) fun is_referable(size: u64): bool {
    size <= MAX_REFERENCED_BYTES
}

/// The hash is the one that the same bytes have in a transaction, in chunks of 16,000.
public(package) fun referenced(reference: vector<u8>, hash: vector<u8>, size: u64): Payload {
    Payload { hash, size, reference }
}

public(package) fun hash(self: &Payload): vector<u8> { self.hash }

public(package) fun size(self: &Payload): u64 { self.size }

public(package) fun reference(self: &Payload): vector<u8> { self.reference }

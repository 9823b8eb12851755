/// The claims that a session key signs for one gateway, and which keys may be session keys.
///
/// The bearer token that the gateway was shown has a secret besides; the chain sees only the secret's hash, so nobody
/// can replay claims that he reads from the chain: over HTTP the secret is missing, here the sender is wrong.
module k3s_daas::claims;

use std::bcs;
use sui::ed25519;

// === Constants ===

const DOMAIN: vector<u8> = b"k3s-daas/claims/v1";
const KEY_BYTES: u64 = 32;
const SIGNATURE_BYTES: u64 = 64;
const HASH_BYTES: u64 = 32;
/// A gateway that is taken over can use the tokens it was shown this long at most, whatever the session's own end.
const MAX_VALIDITY_MS: u64 = 900_000;

/// The y coordinates, little-endian and without sign, of the points of order 2 and 8. (Those of order 1 and 4 are 1
/// and 0.)
const ORDER_2: vector<u8> = x"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
const ORDER_8_A: vector<u8> = x"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
const ORDER_8_B: vector<u8> = x"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";

// === Structs ===

/// What is signed, in BCS.
public struct Claims has copy, drop {
    domain: vector<u8>,
    cluster: address,
    seal: address,
    gateway: address,
    not_before_ms: u64,
    expires_at_ms: u64,
    secret_hash: vector<u8>,
}

// === Public-Package Functions ===

public(package) fun new(
    cluster: address,
    seal: address,
    gateway: address,
    not_before_ms: u64,
    expires_at_ms: u64,
    secret_hash: vector<u8>,
): Claims {
    Claims { domain: DOMAIN, cluster, seal, gateway, not_before_ms, expires_at_ms, secret_hash }
}

/// The hash is one, and the window is neither empty nor longer than 15 minutes.
public(package) fun is_well_formed(self: &Claims): bool {
    self.secret_hash.length() == HASH_BYTES
        && self.not_before_ms < self.expires_at_ms
        && self.expires_at_ms - self.not_before_ms <= MAX_VALIDITY_MS
}

public(package) fun is_signed_by(self: &Claims, session_key: &vector<u8>, signature: &vector<u8>): bool {
    signature.length() == SIGNATURE_BYTES && ed25519::ed25519_verify(signature, session_key, &bcs::to_bytes(self))
}

/// An ed25519 public key in canonical form that is not of small order. Under a key of small order a signature can be
/// made without any private key.
public(package) fun is_session_key(key: &vector<u8>): bool {
    if (key.length() != KEY_BYTES) return false;
    let mut y = *key;
    let last = &mut y[KEY_BYTES - 1];
    *last = *last & 0x7f;
    is_canonical(&y) && !is_zero_or_one(&y) && y != ORDER_2 && y != ORDER_8_A && y != ORDER_8_B
}

// === Private Functions ===

/// Below 2^255 − 19, which is `ed ff … ff 7f`.
fun is_canonical(y: &vector<u8>): bool {
    if (y[0] < 0xed || y[KEY_BYTES - 1] != 0x7f) return true;
    let mut i = 1;
    while (i < KEY_BYTES - 1) {
        if (y[i] != 0xff) return true;
        i = i + 1;
    };
    false
}

fun is_zero_or_one(y: &vector<u8>): bool {
    if (y[0] > 1) return false;
    let mut i = 1;
    while (i < KEY_BYTES) {
        if (y[i] != 0) return false;
        i = i + 1;
    };
    true
}

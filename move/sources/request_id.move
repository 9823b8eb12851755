/// Request ids: 16 bytes, the first 8 of them the time of creation in ms, big-endian.
///
/// An id is accepted only near its time. So it need be remembered only so long: once the window is over, the request
/// may be deleted, and the id can never be used again.
module k3s_daas::request_id;

// === Constants ===

const BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;
const MAX_AGE_MS: u64 = 60_000;
/// How far the clock that made the id may be ahead of the chain's.
const MAX_AHEAD_MS: u64 = 5_000;

// === Public-Package Functions ===

public(package) fun is_well_formed(id: &vector<u8>): bool {
    id.length() == BYTES
}

/// Of a well-formed id.
public(package) fun is_in_window(id: &vector<u8>, now_ms: u64): bool {
    let time_ms = time_ms(id);
    // In this order: a time near the end of u64 never reaches the second sum.
    time_ms <= now_ms + MAX_AHEAD_MS && time_ms + MAX_AGE_MS >= now_ms
}

/// First moment at which an id that was accepted once is outside its window.
public(package) fun end_of_window_ms(id: &vector<u8>): u64 {
    time_ms(id) + MAX_AGE_MS + 1
}

// === Private Functions ===

fun time_ms(id: &vector<u8>): u64 {
    let mut time_ms = 0u64;
    let mut i = 0;
    while (i < TIME_BYTES) {
        time_ms = (time_ms << 8) | (id[i] as u64);
        i = i + 1;
    };
    time_ms
}

/// What the generated driver reports about a call's arguments and results.
module sui::trace;

use std::bcs;
use sui::event_log;

const KIND_ARGUMENT: u8 = 9;
const KIND_RETURN: u8 = 10;

/// Fills type parameters of a driver that a call has no use for.
public struct Unused has key { id: UID }

/// State after the call of an argument that was passed by mutable reference.
public fun argument<T>(position: u64, value: &T) {
    event_log::record_argument(KIND_ARGUMENT, bcs::to_bytes(value), position)
}

public fun returned<T>(value: T) {
    event_log::record<T>(KIND_RETURN, bcs::to_bytes(&value), @0x0, @0x0);
    event_log::consume(value)
}

public fun consume<T>(value: T) { event_log::consume(value) }

public fun recorded(): vector<u8> { event_log::recorded() }

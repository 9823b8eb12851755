/// Takes the place of `sui::event` at run time, under that name: the VM looks natives up by module and name.
///
/// Values are kept by a native of this VM; `events_by_type` gives back the BCS of every kept value of one type, in
/// order, one after the other. That is the only channel out of a call but its return values.
module sui::event_log;

use std::bcs;
use std::type_name;

const EUnsupported: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// One thing that happened. Which fields mean something depends on the kind (`infra/local/sui/vm/trace.py`).
public struct Entry has copy, drop {
    kind: u8,
    type_name: vector<u8>,
    contents: vector<u8>,
    first: address,
    second: address,
    position: u64,
}

const KIND_EVENT: u8 = 1;

public fun emit<T: copy + drop>(event: T) {
    record<T>(KIND_EVENT, bcs::to_bytes(&event), @0x0, @0x0)
}

/// On Sui it also feeds an authenticated stream, which nobody keeps here.
public fun emit_authenticated<T: copy + drop>(_event: T) { abort EUnsupported }

public fun record<T>(kind: u8, contents: vector<u8>, first: address, second: address) {
    let type_name = type_name::with_original_ids<T>().into_string().into_bytes();
    emit_authenticated_impl(Entry { kind, type_name, contents, first, second, position: 0 })
}

/// For the driver: the state of an argument. It needs no type, whose name costs more than all the rest.
public fun record_argument(kind: u8, contents: vector<u8>, position: u64) {
    emit_authenticated_impl(
        Entry { kind, type_name: vector[], contents, first: @0x0, second: @0x0, position },
    )
}

/// Everything recorded in this call, in BCS.
public fun recorded(): vector<u8> { events_by_type<Entry>() }

/// Ends the life of a value of any type.
public fun consume<T>(value: T) { emit_authenticated_impl(value) }

/// Constraints are absent on purpose: the native keeps any value.
public native fun emit_authenticated_impl<T>(value: T);
public native fun events_by_type<T>(): vector<u8>;

/// `sui::transfer` that records who gets what, then lets the VM's native end the value.
module sui::transfer;

use std::bcs;
use sui::event_log;

const EUnsupported: u64 = 0xFFFF_FFFF_FFFF_FFFF;

const KIND_TRANSFER: u8 = 2;
const KIND_SHARE: u8 = 3;
const KIND_FREEZE: u8 = 4;

#[allow(unused_field)]
public struct Receiving<phantom T: key> has drop { id: ID, version: u64 }

public fun transfer<T: key>(obj: T, recipient: address) {
    event_log::record<T>(KIND_TRANSFER, bcs::to_bytes(&obj), recipient, @0x0);
    transfer_impl(obj, recipient)
}
public fun public_transfer<T: key + store>(obj: T, recipient: address) {
    event_log::record<T>(KIND_TRANSFER, bcs::to_bytes(&obj), recipient, @0x0);
    transfer_impl(obj, recipient)
}
public fun share_object<T: key>(obj: T) {
    event_log::record<T>(KIND_SHARE, bcs::to_bytes(&obj), @0x0, @0x0);
    share_object_impl(obj)
}
public fun public_share_object<T: key + store>(obj: T) {
    event_log::record<T>(KIND_SHARE, bcs::to_bytes(&obj), @0x0, @0x0);
    share_object_impl(obj)
}
public fun freeze_object<T: key>(obj: T) {
    event_log::record<T>(KIND_FREEZE, bcs::to_bytes(&obj), @0x0, @0x0);
    freeze_object_impl(obj)
}
public fun public_freeze_object<T: key + store>(obj: T) {
    event_log::record<T>(KIND_FREEZE, bcs::to_bytes(&obj), @0x0, @0x0);
    freeze_object_impl(obj)
}

public fun receiving_object_id<T: key>(receiving: &Receiving<T>): ID { receiving.id }

// The VM keeps no objects that were sent to objects, and no owners but an address, shared and immutable.
public fun receive<T: key>(_parent: &mut UID, _to_receive: Receiving<T>): T { abort EUnsupported }
public fun public_receive<T: key + store>(_parent: &mut UID, _to_receive: Receiving<T>): T { abort EUnsupported }
public fun party_transfer<T: key>(_obj: T, _party: sui::party::Party) { abort EUnsupported }
public fun public_party_transfer<T: key + store>(_obj: T, _party: sui::party::Party) { abort EUnsupported }

native fun transfer_impl<T: key>(obj: T, recipient: address);
native fun share_object_impl<T: key>(obj: T);
native fun freeze_object_impl<T: key>(obj: T);

/// `sui::dynamic_field` that records what is added, removed and borrowed mutably.
///
/// What a mutable borrow leaves behind is known at the end of the call only, and only to code that knows the type:
/// the driver calls `report_borrowed` with every field type that was recorded as borrowed (`vm/invocation.py` learns
/// them by running the call).
///
/// The VM's natives forget that a child which existed before the call was removed in it: they would find it, and give
/// it away, again. So such removals are remembered here, and every access asks.
module sui::dynamic_field;

use std::bcs;
use sui::event_log;

const EFieldAlreadyExists: u64 = 0;
const EFieldDoesNotExist: u64 = 1;
const EFieldTypeMismatch: u64 = 2;

const KIND_CHILD_ADDED: u8 = 5;
const KIND_CHILD_BORROWED: u8 = 6;
const KIND_CHILD_REMOVED: u8 = 7;
const KIND_CHILD_STATE: u8 = 8;

public struct Field<Name: copy + drop + store, Value: store> has key {
    id: UID,
    name: Name,
    value: Value,
}

/// Marks a child object of type `Child` that was borrowed mutably.
public struct Borrowed<phantom Child> has copy, drop { parent: address, id: address }

/// Marks a child that was removed, or was put back after that.
public struct Presence has copy, drop { id: address, present: bool }
const PRESENCE_BYTES: u64 = 33;

public fun add<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name, value: Value) {
    let parent = object.to_address();
    let id = hash_type_and_key(parent, name);
    assert!(!has_child(parent, id), EFieldAlreadyExists);
    add_child(parent, Field { id: object::new_uid_from_hash(id), name, value }, id)
}

public fun borrow<Name: copy + drop + store, Value: store>(object: &UID, name: Name): &Value {
    let id = hash_type_and_key(object.to_address(), name);
    &borrow_child<Field<Name, Value>>(object, id).value
}

public fun borrow_mut<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name): &mut Value {
    let id = hash_type_and_key(object.to_address(), name);
    &mut borrow_child_mut<Field<Name, Value>>(object, id).value
}

public fun remove<Name: copy + drop + store, Value: store>(object: &mut UID, name: Name): Value {
    let parent = object.to_address();
    let id = hash_type_and_key(parent, name);
    let Field { id, name: _, value } = remove_child<Field<Name, Value>>(parent, id);
    id.delete();
    value
}

public fun exists_<Name: copy + drop + store>(object: &UID, name: Name): bool {
    let parent = object.to_address();
    has_child(parent, hash_type_and_key(parent, name))
}

public fun remove_if_exists<Name: copy + drop + store, Value: store>(
    object: &mut UID,
    name: Name,
): Option<Value> {
    if (exists_<Name>(object, name)) option::some(remove(object, name)) else option::none()
}

/// Once a call has looked at a field, this VM's native answers for the field's existence, whatever its type.
public fun exists_with_type<Name: copy + drop + store, Value: store>(object: &UID, name: Name): bool {
    let parent = object.to_address();
    has_child_of_type<Field<Name, Value>>(parent, hash_type_and_key(parent, name))
}

public fun field_info<Name: copy + drop + store>(object: &UID, name: Name): (&UID, address) {
    let id = hash_type_and_key(object.to_address(), name);
    let field = borrow_child<Field<Name, ID>>(object, id);
    (&field.id, field.value.to_address())
}

/// The field itself does not change, so it is not recorded as borrowed.
public fun field_info_mut<Name: copy + drop + store>(object: &mut UID, name: Name): (&mut UID, address) {
    let id = hash_type_and_key(object.to_address(), name);
    assert!(!was_removed(id), EFieldDoesNotExist);
    let field = borrow_child_object_mut<Field<Name, ID>>(object, id);
    (&mut field.id, field.value.to_address())
}

// === Children, for this module and dynamic_object_field ===

public fun add_child<Child: key>(parent: address, child: Child, id: address) {
    event_log::record<Child>(KIND_CHILD_ADDED, bcs::to_bytes(&child), parent, id);
    if (was_removed(id)) event_log::consume(Presence { id, present: true });
    add_child_object(parent, child)
}

public fun borrow_child<Child: key>(object: &UID, id: address): &Child {
    assert!(!was_removed(id), EFieldDoesNotExist);
    borrow_child_object<Child>(object, id)
}

public fun borrow_child_mut<Child: key>(object: &mut UID, id: address): &mut Child {
    assert!(!was_removed(id), EFieldDoesNotExist);
    let parent = object.to_address();
    event_log::record<Child>(KIND_CHILD_BORROWED, vector[], parent, id);
    event_log::consume(Borrowed<Child> { parent, id });
    borrow_child_object_mut<Child>(object, id)
}

public fun remove_child<Child: key>(parent: address, id: address): Child {
    if (!has_child_of_type<Child>(parent, id)) {
        // The native says "does not exist" in both cases.
        abort if (has_child(parent, id)) EFieldTypeMismatch else EFieldDoesNotExist
    };
    let child = remove_child_object<Child>(parent, id);
    event_log::consume(Presence { id, present: false });
    event_log::record<Child>(KIND_CHILD_REMOVED, vector[], parent, id);
    child
}

public fun has_child(parent: address, id: address): bool {
    !was_removed(id) && has_child_object(parent, id)
}

public fun has_child_of_type<Child: key>(parent: address, id: address): bool {
    !was_removed(id) && has_child_object_with_ty<Child>(parent, id)
}

/// Was the child removed in this call, and not put back?
fun was_removed(id: address): bool {
    let marks = event_log::events_by_type<Presence>();
    let mut offset = marks.length();
    if (offset == 0) return false;
    let wanted = bcs::to_bytes(&id);
    while (offset > 0) {
        offset = offset - PRESENCE_BYTES;
        if (is_at(&wanted, &marks, offset)) return marks[offset + 32] == 0;
    };
    false
}

fun is_at(wanted: &vector<u8>, bytes: &vector<u8>, offset: u64): bool {
    let mut i = 0;
    while (i < 32) {
        if (wanted[i] != bytes[offset + i]) return false;
        i = i + 1;
    };
    true
}

/// For the driver: the state of every `Child` that was borrowed mutably and is still there.
public fun report_borrowed<Child: key>() {
    let marks = event_log::events_by_type<Borrowed<Child>>();
    let mut offset = 0;
    while (offset < marks.length()) {
        let parent = address_at(&marks, offset);
        let id = address_at(&marks, offset + 32);
        if (has_child_of_type<Child>(parent, id)) {
            let uid = object::new_uid_from_hash(parent);
            event_log::record<Child>(
                KIND_CHILD_STATE,
                bcs::to_bytes(borrow_child_object<Child>(&uid, id)),
                parent,
                id,
            );
            uid.delete();
        };
        offset = offset + 64;
    }
}

fun address_at(bytes: &vector<u8>, offset: u64): address {
    let mut address = vector[];
    let mut i = 0;
    while (i < 32) {
        address.push_back(bytes[offset + i]);
        i = i + 1;
    };
    sui::address::from_bytes(address)
}

public native fun hash_type_and_key<K: copy + drop + store>(parent: address, k: K): address;
native fun add_child_object<Child: key>(parent: address, child: Child);
native fun borrow_child_object<Child: key>(object: &UID, id: address): &Child;
native fun borrow_child_object_mut<Child: key>(object: &mut UID, id: address): &mut Child;
native fun remove_child_object<Child: key>(parent: address, id: address): Child;
native fun has_child_object(parent: address, id: address): bool;
native fun has_child_object_with_ty<Child: key>(parent: address, id: address): bool;

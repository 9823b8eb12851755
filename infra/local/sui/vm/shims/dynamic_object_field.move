/// `sui::dynamic_object_field` on top of the recording `sui::dynamic_field`: a field that holds the id of the object,
/// and the object as a child of that field.
module sui::dynamic_object_field;

use sui::dynamic_field as field;

public struct Wrapper<Name> has copy, drop, store { name: Name }

public fun add<Name: copy + drop + store, Value: key + store>(object: &mut UID, name: Name, value: Value) {
    internal_add(object, name, value)
}
public fun borrow<Name: copy + drop + store, Value: key + store>(object: &UID, name: Name): &Value {
    internal_borrow(object, name)
}
public fun borrow_mut<Name: copy + drop + store, Value: key + store>(object: &mut UID, name: Name): &mut Value {
    internal_borrow_mut(object, name)
}
public fun remove<Name: copy + drop + store, Value: key + store>(object: &mut UID, name: Name): Value {
    internal_remove(object, name)
}
public fun exists_<Name: copy + drop + store>(object: &UID, name: Name): bool {
    field::exists_with_type<Wrapper<Name>, ID>(object, Wrapper { name })
}
public fun exists_with_type<Name: copy + drop + store, Value: key + store>(object: &UID, name: Name): bool {
    internal_exists_with_type<Name, Value>(object, name)
}
public fun id<Name: copy + drop + store>(object: &UID, name: Name): Option<ID> {
    if (!exists_(object, name)) return option::none();
    let (_, id) = field::field_info(object, Wrapper { name });
    option::some(object::id_from_address(id))
}

public fun internal_add<Name: copy + drop + store, Value: key>(object: &mut UID, name: Name, value: Value) {
    let id = object::id_address(&value);
    field::add(object, Wrapper { name }, object::id(&value));
    let (holder, _) = field::field_info(object, Wrapper { name });
    field::add_child(holder.to_address(), value, id)
}
public fun internal_borrow<Name: copy + drop + store, Value: key>(object: &UID, name: Name): &Value {
    let (holder, id) = field::field_info(object, Wrapper { name });
    field::borrow_child<Value>(holder, id)
}
public fun internal_borrow_mut<Name: copy + drop + store, Value: key>(
    object: &mut UID,
    name: Name,
): &mut Value {
    let (holder, id) = field::field_info_mut(object, Wrapper { name });
    field::borrow_child_mut<Value>(holder, id)
}
public fun internal_remove<Name: copy + drop + store, Value: key>(object: &mut UID, name: Name): Value {
    let (holder, id) = field::field_info(object, Wrapper { name });
    let value = field::remove_child<Value>(holder.to_address(), id);
    field::remove<Wrapper<Name>, ID>(object, Wrapper { name });
    value
}
public fun internal_exists_with_type<Name: copy + drop + store, Value: key>(object: &UID, name: Name): bool {
    if (!exists_(object, name)) return false;
    let (holder, id) = field::field_info(object, Wrapper { name });
    field::has_child_of_type<Value>(holder.to_address(), id)
}

/// The next version: larger steps, a new type, and an entry function that takes something else.
module workshop::machine;

use sui::dynamic_field;
use sui::event;

const EWornOut: u64 = 3;

public struct Machine has key {
    id: UID,
    turns: u64,
}

public struct Slot has copy, drop, store { number: u8 }

public struct Turned has copy, drop { turns: u64 }

public struct Plate has key, store { id: UID, of: ID }

public struct Mark has copy, drop, store { size: u64 }

public struct Labelled has copy, drop { plate: ID }

fun init(ctx: &mut TxContext) {
    transfer::share_object(Machine { id: object::new(ctx), turns: 0 });
}

public fun version(): u64 { 2 }

public fun turn(machine: &mut Machine) {
    assert!(machine.turns < 100, EWornOut);
    machine.turns = machine.turns + step(10);
    event::emit(Turned { turns: machine.turns });
}

public fun fill(machine: &mut Machine, number: u8, value: u64) {
    dynamic_field::add(&mut machine.id, Slot { number }, 2 * value);
}

public fun drain(machine: &mut Machine, number: u8): u64 {
    dynamic_field::remove(&mut machine.id, Slot { number })
}

public fun mark(machine: &mut Machine) {
    let mark = Mark { size: 7 };
    if (!dynamic_field::exists_(&machine.id, mark)) dynamic_field::add(&mut machine.id, mark, 0u64);
    let count: &mut u64 = dynamic_field::borrow_mut(&mut machine.id, mark);
    *count = *count + 1;
}

public fun label(machine: &Machine, ctx: &mut TxContext): Plate {
    let plate = Plate { id: object::new(ctx), of: object::id(machine) };
    event::emit(Labelled { plate: object::id(&plate) });
    plate
}

public fun scrap(plate: Plate) {
    let Plate { id, of: _ } = plate;
    id.delete();
}

/// Gives any object away.
public fun give<T: key + store>(thing: T, recipient: address) {
    transfer::public_transfer(thing, recipient)
}

fun step(size: u64): u64 { size }

entry fun polish(_machine: &Machine, _times: u64) {}

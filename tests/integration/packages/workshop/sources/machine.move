/// A shared machine that every version of the package drives in its own way.
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

fun init(ctx: &mut TxContext) {
    transfer::share_object(Machine { id: object::new(ctx), turns: 0 });
}

public fun version(): u64 { 1 }

public fun turn(machine: &mut Machine) {
    assert!(machine.turns < 100, EWornOut);
    machine.turns = machine.turns + step();
    event::emit(Turned { turns: machine.turns });
}

public fun fill(machine: &mut Machine, number: u8, value: u64) {
    dynamic_field::add(&mut machine.id, Slot { number }, value);
}

public fun mark(machine: &mut Machine) {
    let slot = Slot { number: 255 };
    if (!dynamic_field::exists_(&machine.id, slot)) dynamic_field::add(&mut machine.id, slot, 0u64);
    let count: &mut u64 = dynamic_field::borrow_mut(&mut machine.id, slot);
    *count = *count + 1;
}

public(package) fun step(): u64 { 1 }

entry fun polish(_machine: &mut Machine) {}

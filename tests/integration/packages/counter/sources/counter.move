/// A shared counter that owns tickets can advance: two mutable objects in one call, an event, an abort.
module counter::counter;

use sui::event;

const ETicketUsedUp: u64 = 7;

public struct Counter has key {
    id: UID,
    value: u64,
}

public struct Ticket has key, store {
    id: UID,
    uses: u64,
}

public struct Advanced has copy, drop {
    counter: ID,
    value: u64,
    note: vector<u8>,
}

public fun open(uses: u64, ctx: &mut TxContext): Ticket {
    transfer::share_object(Counter { id: object::new(ctx), value: 0 });
    Ticket { id: object::new(ctx), uses }
}

public fun advance(counter: &mut Counter, ticket: &mut Ticket, note: vector<u8>) {
    assert!(ticket.uses > 0, ETicketUsedUp);
    ticket.uses = ticket.uses - 1;
    counter.value = counter.value + 1;
    event::emit(Advanced { counter: object::id(counter), value: counter.value, note });
}

/// A currency, made with a one-time witness.
module gallery::token;

use sui::coin::{Self, TreasuryCap};
use sui::types;

const ENotAWitness: u64 = 1;

public struct TOKEN has drop {}

#[allow(deprecated_usage)]
fun init(witness: TOKEN, ctx: &mut TxContext) {
    assert!(types::is_one_time_witness(&witness), ENotAWitness);
    let (treasury, metadata) = coin::create_currency(
        witness,
        2,
        b"TKN",
        b"Token",
        b"Admits one",
        option::none(),
        ctx,
    );
    transfer::public_freeze_object(metadata);
    transfer::public_transfer(treasury, ctx.sender());
}

public fun mint_to(treasury: &mut TreasuryCap<TOKEN>, amount: u64, recipient: address, ctx: &mut TxContext) {
    transfer::public_transfer(treasury.mint(amount, ctx), recipient);
}

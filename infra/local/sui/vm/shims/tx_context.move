/// `sui::tx_context` that answers from its own fields; on Sui, natives ask the executing node.
module sui::tx_context;

#[allow(unused_field)]
public struct TxContext has drop {
    sender: address,
    tx_hash: vector<u8>,
    epoch: u64,
    epoch_timestamp_ms: u64,
    ids_created: u64,
}

/// For the driver: the context of the transaction that the call belongs to.
public fun of_call(
    sender: address,
    tx_hash: vector<u8>,
    epoch: u64,
    epoch_timestamp_ms: u64,
    ids_created: u64,
): TxContext {
    TxContext { sender, tx_hash, epoch, epoch_timestamp_ms, ids_created }
}
/// For the driver: how many ids the transaction has drawn.
public fun ids_created_so_far(self: &TxContext): u64 { self.ids_created }

public fun sender(self: &TxContext): address { self.sender }
public fun digest(self: &TxContext): &vector<u8> { &self.tx_hash }
public fun epoch(self: &TxContext): u64 { self.epoch }
public fun epoch_timestamp_ms(self: &TxContext): u64 { self.epoch_timestamp_ms }
/// Sponsored transactions do not exist here.
public fun sponsor(_self: &TxContext): Option<address> { option::none() }
public fun reference_gas_price(_self: &TxContext): u64 { native_rgp() }
public fun gas_price(_self: &TxContext): u64 { native_gas_price() }

public fun fresh_object_address(ctx: &mut TxContext): address {
    let id = derive_id(ctx.tx_hash, ctx.ids_created);
    ctx.ids_created = ctx.ids_created + 1;
    id
}

native fun derive_id(tx_hash: vector<u8>, ids_created: u64): address;
native fun native_rgp(): u64;
native fun native_gas_price(): u64;

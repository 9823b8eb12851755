/// `sui::funds_accumulator` without the accumulator: address balances belong to the ledger, and Move cannot reach them
/// here. The VM's natives would take money and say nothing.
module sui::funds_accumulator;

const EUnsupported: u64 = 0xFFFF_FFFF_FFFF_FFFF;

#[allow(unused_field)]
public struct Withdrawal<phantom T: store> has drop { owner: address, limit: u256 }

public fun withdrawal_owner<T: store>(withdrawal: &Withdrawal<T>): address { withdrawal.owner }
public fun withdrawal_limit<T: store>(withdrawal: &Withdrawal<T>): u256 { withdrawal.limit }
public fun withdrawal_split<T: store>(_withdrawal: &mut Withdrawal<T>, _limit: u256): Withdrawal<T> {
    abort EUnsupported
}
public fun withdrawal_join<T: store>(_withdrawal: &mut Withdrawal<T>, _other: Withdrawal<T>) {
    abort EUnsupported
}
public fun redeem<T: store>(_withdrawal: Withdrawal<T>): T { abort EUnsupported }
public fun withdraw_from_object<T: store>(_obj: &mut UID, _limit: u256): Withdrawal<T> { abort EUnsupported }
public fun add_impl<T: store>(_value: T, _recipient: address) { abort EUnsupported }
public fun create_withdrawal<T: store>(_owner: address, _limit: u256): Withdrawal<T> { abort EUnsupported }

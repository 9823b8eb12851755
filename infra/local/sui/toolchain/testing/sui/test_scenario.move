/// The part of `sui::test_scenario` that our tests use, for framework sources that come without their test modules.
///
/// A scenario is a sequence of transactions. What one shares, the next ones can take. The inventory is the VM's own;
/// ids are derived from the number of the transaction, as in the framework's module, so tests may pin them.
#[test_only]
module sui::test_scenario;

use sui::vec_map::VecMap;

// === Errors ===

const ENothingToTake: u64 = 1;
const ENotTaken: u64 = 2;

// === Structs ===

public struct Scenario {
    transaction: u64,
    ctx: TxContext,
}

/// The VM fills it, in this order.
public struct TransactionEffects has drop {
    created: vector<ID>,
    written: vector<ID>,
    deleted: vector<ID>,
    transferred_to_account: VecMap<ID, address>,
    transferred_to_object: VecMap<ID, ID>,
    shared: vector<ID>,
    frozen: vector<ID>,
    num_user_events: u64,
}

// === Public Functions: transactions ===

/// The first transaction, number 0.
public fun begin(sender: address): Scenario {
    Scenario { transaction: 0, ctx: tx_context::new_from_hint(sender, 0, 0, 0, 0) }
}

/// Ends the present transaction and begins the next one.
public fun next_tx(scenario: &mut Scenario, sender: address): TransactionEffects {
    let effects = end_transaction();
    scenario.transaction = scenario.transaction + 1;
    let epoch = scenario.ctx.epoch();
    let epoch_timestamp_ms = scenario.ctx.epoch_timestamp_ms();
    scenario.ctx = tx_context::new_from_hint(sender, scenario.transaction, epoch, epoch_timestamp_ms, 0);
    effects
}

public fun ctx(scenario: &mut Scenario): &mut TxContext { &mut scenario.ctx }

// === Public Functions: the inventory ===

/// The shared object of the type that was shared last.
public fun take_shared<T: key>(scenario: &Scenario): T {
    let id = most_recent_id_shared<T>();
    assert!(id.is_some(), ENothingToTake);
    take_shared_by_id(scenario, id.destroy_some())
}

public fun return_shared<T: key>(object: T) {
    assert!(was_taken_shared(object::id(&object)), ENotTaken);
    transfer::share_object_impl(object)
}

// === Private Functions ===

native fun take_shared_by_id<T: key>(scenario: &Scenario, id: ID): T;

native fun most_recent_id_shared<T: key>(): Option<ID>;

native fun was_taken_shared(id: ID): bool;

native fun end_transaction(): TransactionEffects;

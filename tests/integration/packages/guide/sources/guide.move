/// A second package, so that there are two that know nothing of each other.
module guide::guide;

public struct Badge has key, store { id: UID, number: u64 }

public fun badge(number: u64, ctx: &mut TxContext): Badge { Badge { id: object::new(ctx), number } }
public fun walk_on() { loop {} }
public fun shout() { std::debug::print(&b"Ladies and gentlemen") }

/// What a seal used up in the present minute and day of the clock.
module k3s_daas::usage;

use k3s_daas::policy::Policy;

// === Constants ===

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

// === Structs ===

public struct Usage has copy, drop, store {
    /// Since the epoch, as are the days.
    minute: u64,
    commands: u64,
    day: u64,
    /// MIST.
    deposit: u64,
}

// === Public-Package Functions ===

public(package) fun new(): Usage {
    Usage { minute: 0, commands: 0, day: 0, deposit: 0 }
}

/// A new minute or day begins with nothing used.
public(package) fun advance(self: &mut Usage, now_ms: u64) {
    let (minute, day) = (now_ms / MINUTE_MS, now_ms / DAY_MS);
    if (self.minute != minute) {
        self.minute = minute;
        self.commands = 0;
    };
    if (self.day != day) {
        self.day = day;
        self.deposit = 0;
    };
}

public(package) fun leaves_command(self: &Usage, policy: &Policy): bool {
    self.commands < policy.commands_per_minute()
}

public(package) fun leaves_deposit(self: &Usage, policy: &Policy, deposit: u64): bool {
    let limit = policy.deposit_per_day();
    // The limit may have been lowered since.
    self.deposit <= limit && deposit <= limit - self.deposit
}

/// Of one command, after both limits were asked.
public(package) fun add(self: &mut Usage, deposit: u64) {
    self.commands = self.commands + 1;
    self.deposit = self.deposit + deposit;
}

module workshop::tools;

use workshop::machine::{Self, Machine};

public fun twice(machine: &mut Machine) {
    machine::turn(machine);
    machine::turn(machine);
}

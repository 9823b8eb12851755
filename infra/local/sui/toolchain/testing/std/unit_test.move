/// The part of `std::unit_test` that our tests use, for framework sources that come without their test modules.
///
/// The compiler asks for `poison` in every module that it compiles for tests; the VM has it and `destroy`.
#[test_only]
module std::unit_test;

/// Linking this fails outside of unit tests.
public native fun poison();

/// Takes a value of any type, also of one that cannot be dropped.
public native fun destroy<T>(value: T);

/// Prints both sides and aborts if they differ.
public macro fun assert_eq<$T: drop>($left: $T, $right: $T) {
    let left = $left;
    let right = $right;
    if (left != right) {
        std::debug::print(&b"these should be equal:".to_string());
        std::debug::print(&left);
        std::debug::print(&right);
        abort 0
    }
}

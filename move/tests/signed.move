/// Claims for the seal of `world` with the signature of its session key: Move tests cannot sign.
///
/// Written by `python -m tests.move.golden`; not to be edited.
#[test_only]
module k3s_daas::signed;

public fun now_ms(): u64 { 1750000000000 }

public fun cluster(): address { @0x034401905bebdf8c04f3cd5f04f442a39372c8dc321c29edfb4f9cb30b23ab96 }

public fun seal(): address { @0x489d325645528066bd5fc2fd6e54cedebd2d7e98aa6095740a6b892e1b1c09f7 }

public fun gateway(): address { @0x000000000000000000000000000000000000000000000000000000000000006a }

public fun not_before_ms(): u64 { 1749999940000 }

public fun expires_at_ms(): u64 { 1750000600000 }

public fun secret_hash(): vector<u8> { x"85889feec9e63f2815bd098f9f833f77e07d20cb8b5f790c49bdce514ab05f1c" }

public fun session_key(): vector<u8> { x"57b78e9de16e1c43dd1d9e3a025539026560df081dc67e11dc435e1184285211" }

public fun signature(): vector<u8> { x"cca33c6307b59f58d6defd167908cc59b1aedbf4e7aadc57fe7c33898a277641fe42ec9a2f354aa1a1f9e6730e3216ecf51bd065abe94e27744171c998bde606" }

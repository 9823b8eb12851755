/// Calls to `sui::hash` are linked to this module.
module sui::hash_by_reference;

public fun blake2b256(data: &vector<u8>): vector<u8> { sui::hash::blake2b256(*data) }
public fun keccak256(data: &vector<u8>): vector<u8> { sui::hash::keccak256(*data) }

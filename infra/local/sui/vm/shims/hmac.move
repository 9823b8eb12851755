/// `sui::hmac` in Move: this VM's native returns zeros.
module sui::hmac;

/// Rate of SHA3-256, which is HMAC's block size for it.
const BLOCK: u64 = 136;

public fun hmac_sha3_256(key: &vector<u8>, msg: &vector<u8>): vector<u8> {
    let short_key = if (key.length() > BLOCK) std::hash::sha3_256(*key) else *key;
    let mut inner = padded(&short_key, 0x36);
    inner.append(*msg);
    let mut outer = padded(&short_key, 0x5c);
    outer.append(std::hash::sha3_256(inner));
    std::hash::sha3_256(outer)
}

fun padded(key: &vector<u8>, pad: u8): vector<u8> {
    let mut block = vector[];
    let mut i = 0;
    while (i < BLOCK) {
        block.push_back(if (i < key.length()) key[i] ^ pad else pad);
        i = i + 1;
    };
    block
}

// What a token of training sees: itself and what stands before it in its document. Needs VISIBLE_AT, params.t.

@group(0) @binding(VISIBLE_AT) var<storage, read> starts: array<u32>; // (B, T) u32, the first token of the document, never falling

// The lowest `n` bits, 0 ≤ n ≤ 32.
fn lowest_bits(n: i32) -> u32 {
    return select((1u << u32(n)) - 1u, 0xFFFFFFFFu, n == 32);
}

// A bit for each of the keys 32 · word … 32 · word + 31; none for a token past the end.
fn visible_word(b: u32, t: u32, word: u32) -> u32 {
    let row = min(t, params.t - 1u);
    let first = i32(32u * word);
    let from_start = lowest_bits(clamp(i32(starts[b * params.t + row]) - first, 0, 32));
    let up_to_self = lowest_bits(clamp(i32(row) + 1 - first, 0, 32));
    return select(0u, up_to_self & ~from_start, t < params.t);
}

// No token from t on sees a key before this one.
fn first_key(b: u32, t: u32) -> u32 {
    return starts[b * params.t + t];
}

// Whether no token from t on sees a key up to `key`.
fn past(b: u32, t: u32, key: u32) -> bool {
    return starts[b * params.t + t] > key;
}

// What a token of training sees: its selection, as bits. Needs VISIBLE_AT, params.t.

@group(0) @binding(VISIBLE_AT) var<storage, read> selected: array<u32>; // (B, T, ceil(T / 32)) u32, bit s % 32 of word s / 32 for key s

// A bit for each of the keys 32 · word … 32 · word + 31; none for a token or keys past the end.
fn visible_word(b: u32, t: u32, word: u32) -> u32 {
    let words = (params.t + 31u) / 32u;
    let row = b * params.t + min(t, params.t - 1u);
    return select(0u, selected[row * words + min(word, words - 1u)], t < params.t && word < words);
}

// No token from t on sees a key before this one.
fn first_key(b: u32, t: u32) -> u32 {
    return 0u;
}

// Whether no token from t on sees a key up to `key`.
fn past(b: u32, t: u32, key: u32) -> bool {
    return false;
}

/// Returns rows of bits: bit `s mod 32` of word `s / 32` for each token `s` of a row; tokens below 0 are none.
///
/// # Shapes
/// - selected: `[rows, k]`
/// - returns: `[rows, words]`
pub fn selection_bits(selected: &[i32], k: usize, words: usize) -> Vec<u32> {
    let mut bits = Vec::new();
    for row in selected.chunks(k) {
        for word in 0..words {
            let set = (0..32).filter(|bit| row.iter().any(|&s| s >= 0 && s as usize == 32 * word + bit));
            bits.push(set.map(|bit| 1 << bit).sum());
        }
    }
    bits
}

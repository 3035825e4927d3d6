use super::NO_ROW;

/// Returns the words of each token: `R` of the table row of its position, its cache row, the position, and two zeros.
///
/// # Shapes
/// - rope_table: `[P, R]`, cosine and sine of each pair
/// - positions: `[T]`
/// - block_table: `[pages]`
/// - returns: `[T, R + 4]`
pub fn step_rows(rope_table: &[u32], rope: usize, positions: &[u32], block_table: &[u32]) -> Vec<u32> {
    let rows = rope_table.len() / rope;
    let mut words = Vec::new();
    for &position in positions {
        let at = (position as usize).min(rows - 1);
        words.extend(&rope_table[at * rope..(at + 1) * rope]);
        let (page, slot) = (position as usize / 64, position % 64);
        let outside = position as usize >= rows || page >= block_table.len();
        words.extend([if outside { NO_ROW } else { block_table[page] * 64 + slot }, position, 0, 0]);
    }
    words
}

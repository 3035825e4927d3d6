/// Returns the assignments in order of their experts, those of one expert as they came, and where each expert's begin.
///
/// # Shapes
/// - experts: `[N]`, all below `n_experts`
/// - returns: `[N]` and `[E + 1]`
pub fn sort(experts: &[u32], n_experts: u32) -> (Vec<u32>, Vec<u32>) {
    let (mut order, mut offsets) = (Vec::new(), vec![0]);
    for wanted in 0..n_experts {
        for (assignment, expert) in experts.iter().enumerate() {
            if *expert == wanted {
                order.push(assignment as u32);
            }
        }
        offsets.push(order.len() as u32);
    }
    (order, offsets)
}

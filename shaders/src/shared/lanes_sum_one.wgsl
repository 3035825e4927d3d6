// Sum over LANES = 1 lanes, for adapters without subgroups.

fn lanes_sum(value: f32) -> f32 {
    return value;
}

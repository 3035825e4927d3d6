// Sum over LANES consecutive lanes, for every one of them. Needs LANES, a power of two that is not above the size of any subgroup.

fn lanes_sum(value: f32) -> f32 {
    var sum = value;
    for (var distance = LANES / 2u; distance > 0u; distance /= 2u) {
        sum += subgroupShuffleXor(sum, distance);
    }
    return sum;
}

// Stores the sums of a subgroup to y, which is f32.
fn store_all(sums: ptr<function, Sums>, first: u32) {
    let stride = params.y_stride;
    for (var p = 0u; p < TILES_T; p += 1u) { // unrolled
        for (var q = 0u; q < TILES_O; q += 1u) { // unrolled
            let to = first + p * 16u * stride + q * 16u;
            let sum = (*sums)[p * TILES_O + q];
            if ACCUMULATE {
                let old = coopLoadT<coop_mat16x16<f32, C>>(&y[to], stride);
                coopStoreT(old + sum, &y[to], stride);
            } else {
                coopStoreT(sum, &y[to], stride);
            }
        }
    }
}

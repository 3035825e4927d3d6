// Sum over a workgroup through workgroup memory, for adapters without subgroups. Needs WG_SIZE, a power of two.
// The order of additions is fixed: a tree by halves.

var<workgroup> sh_reduce: array<f32, WG_SIZE>;

fn workgroup_sum(value: f32, lid: u32, lane: u32, lanes: u32) -> f32 {
    sh_reduce[lid] = value;
    workgroupBarrier();
    for (var half = WG_SIZE / 2u; half > 0u; half /= 2u) {
        if lid < half {
            sh_reduce[lid] += sh_reduce[lid + half];
        }
        workgroupBarrier();
    }
    let sum = sh_reduce[0];
    workgroupBarrier();
    return sum;
}

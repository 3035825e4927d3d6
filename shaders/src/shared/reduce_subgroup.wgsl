// Sum over a workgroup: inside each subgroup first, then over the subgroups. Needs WG_SIZE and works for any subgroup size.
// Subgroups are taken to be consecutive invocations, as every implementation lays out one-dimensional workgroups; the suites would fail elsewhere.

var<workgroup> sh_reduce: array<f32, WG_SIZE>;

fn workgroup_sum(value: f32, lid: u32, lane: u32, lanes: u32) -> f32 {
    let partial = subgroupAdd(value);
    if lane == 0u {
        sh_reduce[lid / lanes] = partial;
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < WG_SIZE / lanes; i += 1u) {
        sum += sh_reduce[i];
    }
    workgroupBarrier();
    return sum;
}

// Exclusive sum over a workgroup: inside each subgroup first, then over the subgroups. Needs WG_SIZE and works for any subgroup size.
// Subgroups are taken to be consecutive invocations.

var<workgroup> sh_scan: array<u32, WG_SIZE>;
var<workgroup> sh_total: u32;

fn workgroup_scan(value: u32, lid: u32, lane: u32, lanes: u32) -> u32 {
    let inclusive = subgroupInclusiveAdd(value);
    let mine = lid / lanes;
    if lane + 1u == lanes {
        sh_scan[mine] = inclusive;
    }
    workgroupBarrier();
    var before = 0u;
    for (var i = lane; i < mine; i += lanes) {
        before += sh_scan[i];
    }
    let start = subgroupAdd(before);
    if lid + 1u == WG_SIZE {
        sh_total = start + inclusive;
    }
    workgroupBarrier();
    return start + inclusive - value;
}

// Exclusive sum and range over a workgroup: inside each subgroup first, then over the subgroups. Needs WG_SIZE and works for any subgroup size from
// 2 on. Subgroups are taken to be consecutive invocations. Between two calls lies a barrier.

var<workgroup> sh_scan: array<u32, WG_SIZE>;
var<workgroup> sh_total: u32;

fn scan_before(value: u32, lid: u32, lane: u32, lanes: u32) -> u32 {
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
    return subgroupAdd(before) + inclusive - value;
}

// The same, and the sum of all in `sh_total`.
fn workgroup_scan(value: u32, lid: u32, lane: u32, lanes: u32) -> u32 {
    let before = scan_before(value, lid, lane, lanes);
    if lid + 1u == WG_SIZE {
        sh_total = before + value;
    }
    workgroupBarrier();
    return before;
}

// The least of all `least` and the largest of all `most`.
fn workgroup_range(least: u32, most: u32, lid: u32, lane: u32, lanes: u32) -> vec2<u32> {
    let first = subgroupMin(least);
    let last = subgroupMax(most);
    if lane == 0u {
        sh_scan[lid / lanes] = first;
        sh_scan[WG_SIZE / 2u + lid / lanes] = last;
    }
    workgroupBarrier();
    var range = vec2(0xFFFFFFFFu, 0u);
    for (var i = lane; i < (WG_SIZE + lanes - 1u) / lanes; i += lanes) {
        range = vec2(min(range.x, sh_scan[i]), max(range.y, sh_scan[WG_SIZE / 2u + i]));
    }
    return vec2(subgroupMin(range.x), subgroupMax(range.y));
}

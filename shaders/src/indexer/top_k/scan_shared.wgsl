// Exclusive sum and range over a workgroup through workgroup memory, for adapters without subgroups. Needs WG_SIZE. Between two calls lies a
// barrier.

var<workgroup> sh_scan: array<u32, WG_SIZE>;
var<workgroup> sh_total: u32;
var<workgroup> sh_lowest: atomic<u32>;
var<workgroup> sh_highest: atomic<u32>;

// Also leaves the sum of all in `sh_total`.
fn scan_before(value: u32, lid: u32, lane: u32, lanes: u32) -> u32 {
    sh_scan[lid] = value;
    workgroupBarrier();
    var sum = value;
    for (var step = 1u; step < WG_SIZE; step *= 2u) {
        var left = 0u;
        if lid >= step {
            left = sh_scan[lid - step];
        }
        workgroupBarrier();
        sum += left;
        sh_scan[lid] = sum;
        workgroupBarrier();
    }
    if lid + 1u == WG_SIZE {
        sh_total = sum;
    }
    return sum - value;
}

fn workgroup_scan(value: u32, lid: u32, lane: u32, lanes: u32) -> u32 {
    let before = scan_before(value, lid, lane, lanes);
    workgroupBarrier();
    return before;
}

// The least of all `least` and the largest of all `most`.
fn workgroup_range(least: u32, most: u32, lid: u32, lane: u32, lanes: u32) -> vec2<u32> {
    if lid == 0u {
        atomicStore(&sh_lowest, 0xFFFFFFFFu);
        atomicStore(&sh_highest, 0u);
    }
    workgroupBarrier();
    atomicMin(&sh_lowest, least);
    atomicMax(&sh_highest, most);
    workgroupBarrier();
    return vec2(atomicLoad(&sh_lowest), atomicLoad(&sh_highest));
}

// Exclusive sum over a workgroup through workgroup memory, for adapters without subgroups. Needs WG_SIZE.

var<workgroup> sh_scan: array<u32, WG_SIZE>;
var<workgroup> sh_total: u32;

fn workgroup_scan(value: u32, lid: u32, lane: u32, lanes: u32) -> u32 {
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
    workgroupBarrier();
    return sum - value;
}

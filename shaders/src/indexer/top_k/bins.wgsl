// The bin of a histogram that holds the last selected key. Needs WG_SIZE and `bin_count(fine, i)`.

// A digit, how many of its keys are selected, and how many there are.
struct Bin {
    digit: u32,
    wanted: u32,
    count: u32,
}

var<workgroup> sh_bin: Bin;

// Finds the bin of the `wanted`-th largest in a histogram of which this invocation holds `each` neighbouring bins.
fn find_bin(fine: bool, at_lid: u32, lane: u32, lanes: u32, bins: u32, wanted: u32) -> Bin {
    let each = (bins + WG_SIZE - 1u) / WG_SIZE;
    let end = bins - min(bins, at_lid * each);
    let start = bins - min(bins, (at_lid + 1u) * each);
    var sum = 0u;
    for (var i = start; i < end; i += 1u) {
        sum += bin_count(fine, i);
    }
    var before = scan_before(sum, at_lid, lane, lanes);
    if before < wanted && wanted <= before + sum {
        for (var i = end; i > start; i -= 1u) {
            let count = bin_count(fine, i - 1u);
            if before < wanted && wanted <= before + count {
                sh_bin = Bin(i - 1u, wanted - before, count);
            }
            before += count;
        }
    }
    return workgroupUniformLoad(&sh_bin);
}

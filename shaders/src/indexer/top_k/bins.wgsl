// Histograms of digits and the bin that holds the last selected score. Needs FINE_BITS, WG_SIZE and `bin_count(fine, i)`.

const FINE_BINS: u32 = 1u << FINE_BITS;

// A digit, how many of its scores are selected, and how many there are.
struct Bin {
    digit: u32,
    wanted: u32,
    count: u32,
}

// Selected are keys above `key`, and those equal to it with an index up to `limit`.
struct Threshold {
    key: u32,
    limit: u32,
}

// No index is above it.
const NO_LIMIT: u32 = 0xFFFFFFFFu;

var<workgroup> sh_fine: array<atomic<u32>, FINE_BINS>;
var<workgroup> sh_bin: Bin;

fn clear_fine(lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < FINE_BINS; i += WG_SIZE) {
        atomicStore(&sh_fine[i], 0u);
    }
    workgroupBarrier();
}

// Equal digits that one invocation met one after the other: a plateau of equal scores would queue at one counter otherwise.
struct Run {
    digit: u32,
    n: u32,
}

fn add_fine(run: Run, digit: u32) -> Run {
    var next = run;
    if digit != run.digit {
        atomicAdd(&sh_fine[run.digit], run.n);
        next = Run(digit, 0u);
    }
    next.n += 1u;
    return next;
}

// Finds the bin of the `wanted`-th largest in a histogram of which this invocation holds `each` neighbouring bins.
fn find_bin(fine: bool, at_lid: u32, lane: u32, lanes: u32, bins: u32, wanted: u32) -> Bin {
    let each = (bins + WG_SIZE - 1u) / WG_SIZE;
    let end = bins - min(bins, at_lid * each);
    let start = bins - min(bins, (at_lid + 1u) * each);
    var sum = 0u;
    for (var i = start; i < end; i += 1u) {
        sum += bin_count(fine, i);
    }
    var before = workgroup_scan(sum, at_lid, lane, lanes);
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

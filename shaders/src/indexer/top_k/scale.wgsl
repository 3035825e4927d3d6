// What a part of a row leaves in the scratch, and its bins. Needs BITS, BINS, COARSE_BINS.

// Where the counts of coarse bins, those of all bins and the keys of a part begin, behind the scale of its bins.
const COARSE_AT: u32 = 1u;
const FINE_AT: u32 = COARSE_AT + COARSE_BINS / 4u;
const KEYS_AT: u32 = FINE_AT + BINS / 4u;

// Bin 0 holds the keys below `least`; each of the others 2^shift keys, and the last one all that are above it as well.
struct Scale {
    least: u32,
    shift: u32,
}

fn bin_of(scale: Scale, key: u32) -> u32 {
    return select(min((key - scale.least) >> scale.shift, BINS - 2u) + 1u, 0u, key < scale.least);
}

// The smallest key of a bin.
fn floor_of(scale: Scale, bin: u32) -> u32 {
    return select(scale.least + ((bin - 1u) << scale.shift), 0u, bin == 0u);
}

// How many bits tell the keys of a bin apart, at most 32.
fn bits_of(scale: Scale, bin: u32) -> u32 {
    let below = 32u - countLeadingZeros(scale.least);
    let above = 32u - countLeadingZeros(0xFFFFFFFFu - floor_of(scale, bin));
    return select(select(scale.shift, above, bin == BINS - 1u), below, bin == 0u);
}

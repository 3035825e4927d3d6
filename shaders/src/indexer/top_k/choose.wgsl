// The best of the keys that the invocations of a workgroup hold in registers, `each` of OWN; of equal keys the first, by invocation and then by place.
// Needs OWN = GROUPS · GROUP (at most 32), WG_SIZE, SLOT_BITS, FEW, `sh_bins` with 2^SLOT_BITS counters or more, and bins.wgsl over them.
//
// All invocations pass the same `each`, so that groups of places that nobody uses cost nothing. Bit j of a mask stands for key j of this invocation.

const SLOTS: u32 = 1u << SLOT_BITS;

alias Held = array<u32, OWN>;

// What a workgroup selects: the `chosen`, and of the `tied`, which are all equal, the first `wanted`.
struct Choice {
    chosen: u32,
    tied: u32,
    wanted: u32,
}

// How keys from `least` on fall into bins: by the distance of their scores where `linear`, by leading bits of their own distance otherwise.
struct Scale {
    least: u32,
    shift: u32,
    linear: bool,
    origin: f32,
    factor: f32,
}

struct Candidate {
    key: u32,
    order: u32,
}

var<workgroup> sh_few: array<Candidate, FEW>;
var<workgroup> sh_few_n: atomic<u32>;
var<workgroup> sh_equal: u32;
var<workgroup> sh_last: Candidate;

// The score of a key that is no NaN.
fn score_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7FFFFFFFu, key >= 0x80000000u));
}

// Keys of sums are dense where exponents are small, and scores are not: the first round takes bins of equal width in the score, so that no bin
// holds much of a usual row. Later rounds halve what is left of the bits, whatever the scores are.
fn scale_of(range: vec2<u32>, first: bool) -> Scale {
    let bits = 32u - countLeadingZeros(range.y - range.x);
    var scale = Scale(range.x, bits - min(bits, SLOT_BITS), false, 0.0, 0.0);
    // Scores between −2^100 and 2^100, as keys.
    if first && range.x >= 0x0E7FFFFFu && range.y <= 0xF1800000u {
        let origin = score_of(range.x);
        let span = score_of(range.y) - origin;
        // A factor that is no infinity.
        if span > 1e-30 {
            scale.linear = true;
            scale.origin = origin;
            scale.factor = f32(SLOTS - 1u) / span;
        }
    }
    return scale;
}

// By the distance of scores, rounded: the bits of a sum that lies where floats are whole numbers.
fn linear_bin(scale: Scale, key: u32) -> u32 {
    return bitcast<u32>((score_of(key) - scale.origin) * scale.factor + 8388608.0) & (SLOTS - 1u);
}

fn bit_bin(scale: Scale, key: u32) -> u32 {
    return (key - scale.least) >> scale.shift;
}

fn clear_slots(lid: u32) {
    for (var i = lid; i < SLOTS; i += WG_SIZE) {
        atomicStore(&sh_bins[i], 0u);
    }
    if lid == 0u {
        atomicStore(&sh_few_n, 0u);
    }
}

// The least and the largest of the `open` keys of the workgroup. Ends behind a barrier, and what was stored before is seen after it.
fn range_of(held: Held, each: u32, open: u32, at: Lane) -> vec2<u32> {
    var keys = held;
    var least = 0xFFFFFFFFu;
    var most = 0u;
    for (var g = 0u; g < GROUPS; g += 1u) { // unrolled
        if g * GROUP < each {
            for (var i = 0u; i < GROUP; i += 1u) { // unrolled
                const j = g * GROUP + i;
                let is_open = (open & (1u << j)) != 0u;
                least = min(least, select(0xFFFFFFFFu, keys[j], is_open));
                most = max(most, select(0u, keys[j], is_open));
            }
        }
    }
    return workgroup_range(least, most, at.lid, lane_of(at), lanes_of(at));
}

// Counts the `open` keys in their bins, and returns the bins.
fn count(held: Held, each: u32, open: u32, scale: Scale) -> Held {
    var keys = held;
    for (var g = 0u; g < GROUPS; g += 1u) { // unrolled
        if g * GROUP < each {
            for (var i = 0u; i < GROUP; i += 1u) { // unrolled
                const j = g * GROUP + i;
                if scale.linear {
                    keys[j] = linear_bin(scale, keys[j]);
                } else {
                    keys[j] = bit_bin(scale, keys[j]);
                }
                if (open & (1u << j)) != 0u {
                    atomicAdd(&sh_bins[keys[j]], 1u);
                }
            }
        }
    }
    return keys;
}

// Which digits are above `digit`, and which are equal to it.
fn compare(found: Held, each: u32, digit: u32) -> vec2<u32> {
    var digits = found;
    var masks = vec2(0u);
    for (var g = 0u; g < GROUPS; g += 1u) { // unrolled
        if g * GROUP < each {
            for (var i = 0u; i < GROUP; i += 1u) { // unrolled
                const j = g * GROUP + i;
                masks |= select(vec2(0u), vec2(1u << j), vec2(digits[j] > digit, digits[j] == digit));
            }
        }
    }
    return masks;
}

// Of the `open` keys, `count` in the workgroup and no more than FEW, the best `wanted`.
fn choose_few(held: Held, each: u32, open: u32, count: u32, wanted: u32, lid: u32) -> u32 {
    var keys = held;
    // Most invocations have none.
    for (var g = 0u; g < GROUPS; g += 1u) { // unrolled
        if g * GROUP < each && open != 0u {
            for (var i = 0u; i < GROUP; i += 1u) { // unrolled
                const j = g * GROUP + i;
                if (open & (1u << j)) != 0u {
                    sh_few[atomicAdd(&sh_few_n, 1u)] = Candidate(keys[j], 32u * lid + j);
                }
            }
        }
    }
    workgroupBarrier();
    if lid < count {
        let mine = sh_few[lid];
        var before = 0u;
        for (var i = 0u; i < count; i += 1u) {
            let other = sh_few[i];
            before += select(0u, 1u, other.key > mine.key || (other.key == mine.key && other.order < mine.order));
        }
        if before + 1u == wanted {
            sh_last = mine;
        }
    }
    workgroupBarrier();
    let last = sh_last;
    var chosen = 0u;
    for (var g = 0u; g < GROUPS; g += 1u) { // unrolled
        if g * GROUP < each && open != 0u {
            for (var i = 0u; i < GROUP; i += 1u) { // unrolled
                const j = g * GROUP + i;
                let reached = keys[j] > last.key || (keys[j] == last.key && 32u * lid + j <= last.order);
                chosen |= select(0u, 1u << j, reached);
            }
        }
    }
    return chosen & open;
}

// The best `k` of the `valid` keys, of which the workgroup has no fewer.
fn choose(held: Held, each: u32, valid: u32, k: u32, at: Lane) -> Choice {
    var chosen = 0u;
    var open = valid;
    var wanted = k;
    for (var first = true;; first = false) {
        clear_slots(at.lid);
        let range = range_of(held, each, open, at);
        if at.lid == 0u {
            sh_equal = select(0u, 1u, range.x == range.y);
        }
        // Bins do not tell equal keys apart. The first round is not worth the question.
        if !first {
            if workgroupUniformLoad(&sh_equal) == 1u {
                break;
            }
        }
        let digits = count(held, each, open, scale_of(range, first));
        workgroupBarrier();
        let bin = find_bin(false, at.lid, lane_of(at), lanes_of(at), SLOTS, wanted);
        let masks = compare(digits, each, bin.digit) & vec2(open);
        chosen |= masks.x;
        open = masks.y;
        wanted = bin.wanted;
        if bin.count == wanted {
            return Choice(chosen | open, 0u, 0u);
        }
        if bin.count <= FEW {
            return Choice(chosen | choose_few(held, each, open, bin.count, wanted, at.lid), 0u, 0u);
        }
    }
    return Choice(chosen, open, wanted);
}

// The mask of the first `n` bits, 32 at most.
fn first_bits(n: u32) -> u32 {
    return select((1u << (n & 31u)) - 1u, 0xFFFFFFFFu, n >= 32u);
}

// Where an invocation's part of the selection goes: `mask` is what is selected of its keys, `place` what the invocations before it select.
struct Share {
    mask: u32,
    place: u32,
}

// Of a workgroup of fewer than 2^16 keys; `before` is the sum of `counts_of` over the invocations before.
fn share_of(choice: Choice, before: u32) -> Share {
    let tied = min(before >> 16u, choice.wanted);
    let left = choice.wanted - tied;
    var taken = select(choice.tied, 0u, left == 0u);
    // The lowest bits are the first.
    while countOneBits(taken) > left {
        taken &= ~(1u << firstLeadingBit(taken));
    }
    return Share(choice.chosen | taken, (before & 0xFFFFu) + tied);
}

fn counts_of(choice: Choice) -> u32 {
    return countOneBits(choice.chosen) | (countOneBits(choice.tied) << 16u);
}

// The choice of a token's experts by its workgroup, for every kernel that needs them.
//
// An expert's rank is how many experts beat it, first inside its chunk (its group, or a slice of all experts where there is one group), then,
// for the best of each chunk, among the best of all kept chunks. Counting needs no sorting and no exchange but workgroup memory.
// Needs the constants of `Route::choice`, WG_SIZE, and `params` with logits_stride, logits_offset and scale. Chunks cover the experts; a group is
// one chunk.
// Numerics: f32; every sum in one order, whatever the workgroup. Of equal scores the lower index wins; −0.0 equals +0.0; NaN loses to everything.
// Loops over a chunk and over the best are written out where they are short, see `unrolled`: their loads must not wait for each other.

@group(0) @binding(LOGITS) var<storage, read> logits: array<f32>; // (T, logits_stride) f32
@group(0) @binding(BIAS) var<storage, read> bias: array<f32>; // (E) f32
@group(0) @binding(EXPERTS) var<storage, read_write> experts: array<u32>; // (T, CHOSEN + SHARED) u32
@group(0) @binding(EXPERT_WEIGHTS) var<storage, read_write> expert_weights: array<f32>; // (T, CHOSEN + SHARED) f32

// Keys: what is no expert loses to NaN, and NaN to every number.
const NO_KEY: u32 = 0u;
const NAN_KEY: u32 = 1u;
// Chunks are filled up with what is no expert; the last of it stands for missing ones.
const FILLED: u32 = CHUNKS * CHUNK + 1u;
const NOBODY: u32 = CHUNKS * CHUNK;

// Scores in an order that integers have; the bits of the bias before.
var<workgroup> sh_keys: array<u32, FILLED>;
// Probabilities without the bias; logits before.
var<workgroup> sh_p: array<f32, E>;
// The best PER_CHUNK experts of each chunk, best first; in the end the chosen experts, ascending.
var<workgroup> sh_best: array<u32, BEST>;
var<workgroup> sh_kept: array<u32, CHUNKS>;
var<workgroup> sh_chosen: array<u32, CHOSEN>;

fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7FFFFFFFu) > 0x7F800000u;
}

fn key_of(score: f32) -> u32 {
    let bits = bitcast<u32>(score);
    if is_nan(score) {
        return NAN_KEY;
    }
    if (bits & 0x7FFFFFFFu) == 0u {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn score_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7FFFFFFFu, key >= 0x80000000u));
}

// Whether the expert with key `a_key` at place `a` beats that with `b_key` at `b`.
fn beats(a_key: u32, a: u32, b_key: u32, b: u32) -> bool {
    return a_key > b_key || (a_key == b_key && a < b);
}

fn group_key(group: u32) -> u32 {
    var score = 0.0;
    for (var i = 0u; i < SUMMED; i += 1u) {
        let key = sh_keys[sh_best[group * PER_CHUNK + i]];
        if key == NAN_KEY {
            return NAN_KEY;
        }
        score += score_of(key);
    }
    return key_of(score);
}

// Turns the logits of sh_p into probabilities.
fn probabilities(lid: u32) {
    if !SOFTMAX {
        // Each invocation reads what it wrote.
        for (var e = lid; e < E; e += WG_SIZE) {
            // Implementations may assume that there is no NaN: the exp of SwiftShader makes a number of it.
            let logit = sh_p[e];
            sh_p[e] = select(1.0 / (1.0 + exp(-logit)), logit, is_nan(logit));
        }
        return;
    }
    var largest = sh_p[0];
    if lid < E {
        for (var e = 1u; e < E; e += 1u) {
            largest = max(largest, sh_p[e]);
        }
    }
    workgroupBarrier();
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_p[e] = exp(sh_p[e] - largest);
    }
    workgroupBarrier();
    var sum = 0.0;
    if lid < E {
        var sums = vec4<f32>(0.0);
        for (var e = 0u; e < E / 4u; e += 1u) {
            sums += vec4<f32>(sh_p[4u * e], sh_p[4u * e + 1u], sh_p[4u * e + 2u], sh_p[4u * e + 3u]);
        }
        sum = (sums.x + sums.y) + (sums.z + sums.w);
        for (var e = E / 4u * 4u; e < E; e += 1u) {
            sum += sh_p[e];
        }
    }
    workgroupBarrier();
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_p[e] /= sum;
    }
}

// The i-th of the best of all chunks, unless its chunk is not kept.
fn candidate(i: u32) -> u32 {
    if KEPT < CHUNKS {
        return select(NOBODY, sh_best[i], sh_kept[i / PER_CHUNK] == 1u);
    }
    return sh_best[i];
}

// Ranks every expert in its chunk, and the groups, if there are some, among each other.
fn rank_chunks(lid: u32) {
    for (var e = lid; e < E; e += WG_SIZE) {
        let start = e / CHUNK * CHUNK;
        let key = sh_keys[e];
        var rank = 0u;
        for (var i = 0u; i < CHUNK; i += 1u) { // unrolled
            rank += select(0u, 1u, beats(sh_keys[start + i], start + i, key, e));
        }
        if rank < PER_CHUNK {
            sh_best[e / CHUNK * PER_CHUNK + rank] = e;
        }
    }
    workgroupBarrier();
    if KEPT < CHUNKS {
        for (var chunk = lid; chunk < CHUNKS; chunk += WG_SIZE) {
            let key = group_key(chunk);
            var rank = 0u;
            for (var other = 0u; other < CHUNKS; other += 1u) {
                rank += select(0u, 1u, beats(group_key(other), other, key, chunk));
            }
            sh_kept[chunk] = select(0u, 1u, rank < KEPT);
        }
        workgroupBarrier();
    }
}

// Reads the logits of `token`. Apart from `choose`, so that other reads can be on their way with these.
fn bring_logits(lid: u32, token: u32) {
    let start = params.logits_offset + token * params.logits_stride;
    for (var e = lid; e < FILLED; e += WG_SIZE) {
        var bits = NO_KEY;
        if e < E {
            sh_p[e] = logits[start + e];
            bits = bitcast<u32>(bias[e]);
        }
        sh_keys[e] = bits;
    }
    for (var i = lid; i < BEST; i += WG_SIZE) {
        sh_best[i] = NOBODY;
    }
}

// Chooses the experts of `token`, whose logits have been brought, for `expert_of`; with `leaves` also writes them and their weights for the launches
// after this one.
fn choose(lid: u32, token: u32, leaves: bool) {
    workgroupBarrier();
    probabilities(lid);
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_keys[e] = key_of(sh_p[e] + bitcast<f32>(sh_keys[e]));
    }
    workgroupBarrier();
    rank_chunks(lid);
    for (var i = lid; i < BEST; i += WG_SIZE) {
        let e = candidate(i);
        let key = sh_keys[e];
        var rank = 0u;
        // Of equal keys the lower place has the lower index: chunks are ascending, and so are equals in a chunk.
        for (var other = 0u; other < BEST; other += 1u) { // unrolled
            rank += select(0u, 1u, beats(sh_keys[candidate(other)], other, key, i));
        }
        if key != NO_KEY && rank < CHOSEN {
            sh_chosen[rank] = e;
        }
    }
    workgroupBarrier();
    for (var a = lid; a < CHOSEN; a += WG_SIZE) {
        let e = sh_chosen[a];
        var place = 0u;
        var sum = 0.0;
        for (var other = 0u; other < CHOSEN; other += 1u) {
            place += select(0u, 1u, sh_chosen[other] < e);
            sum += sh_p[sh_chosen[other]];
        }
        sh_best[place] = e;
        if leaves {
            let divisor = select(1.0, sum + 1e-20, NORMALISE);
            experts[token * (CHOSEN + SHARED) + place] = e;
            expert_weights[token * (CHOSEN + SHARED) + place] = sh_p[e] / divisor * params.scale;
        }
    }
    for (var s = lid; s < SHARED && leaves; s += WG_SIZE) {
        experts[token * (CHOSEN + SHARED) + CHOSEN + s] = E + s;
        expert_weights[token * (CHOSEN + SHARED) + CHOSEN + s] = 1.0;
    }
    workgroupBarrier();
}

// The expert of slot `slot` of the token; shared ones are behind the chosen ones.
fn expert_of(token: u32, slot: u32) -> u32 {
    if slot < CHOSEN {
        return sh_best[slot];
    }
    return E + slot - CHOSEN;
}

// Chooses the experts of each token and weighs them; S shared experts follow with weight 1.
//
// Grid: workgroup wid.x takes token wid.x.
// An expert's rank is how many experts beat it, first inside its chunk (its group, or a slice of all experts where there is one group), then,
// for the best of each chunk, among the best of all kept chunks. Counting needs no sorting and no exchange but workgroup memory.
// Requires: nothing beyond the base tier. Chunks cover the experts; a group is one chunk.
// Numerics: f32; every sum in one order. Of equal scores the lower index wins; −0.0 equals +0.0; NaN loses to everything.

struct Params {
    t: u32,
    logits_stride: u32,
    logits_offset: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>; // (T, logits_stride) f32
@group(0) @binding(1) var<storage, read> bias: array<f32>; // (E) f32
@group(0) @binding(2) var<storage, read_write> experts: array<u32>; // (T, A + S) u32
@group(0) @binding(3) var<storage, read_write> expert_weights: array<f32>; // (T, A + S) f32
@group(0) @binding(4) var<storage, read> params: Params;

// Scores in an order that integers have.
var<workgroup> sh_keys: array<u32, E>;
// Probabilities without the bias.
var<workgroup> sh_p: array<f32, E>;
// The best PER_CHUNK experts of each chunk, best first.
var<workgroup> sh_best: array<u32, BEST>;
var<workgroup> sh_kept: array<u32, CHUNKS>;
var<workgroup> sh_chosen: array<u32, A>;

fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7FFFFFFFu) > 0x7F800000u;
}

fn key_of(score: f32) -> u32 {
    let bits = bitcast<u32>(score);
    let magnitude = bits & 0x7FFFFFFFu;
    if is_nan(score) {
        return 0u;
    }
    if magnitude == 0u {
        return 0x80000000u;
    }
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn score_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7FFFFFFFu, key >= 0x80000000u));
}

fn beats(a_key: u32, a: u32, b_key: u32, b: u32) -> bool {
    return a_key > b_key || (a_key == b_key && a < b);
}

fn chunk_end(chunk: u32) -> u32 {
    return min((chunk + 1u) * CHUNK, E);
}

fn group_key(group: u32) -> u32 {
    var score = 0.0;
    for (var i = 0u; i < SUMMED; i += 1u) {
        let key = sh_keys[sh_best[group * PER_CHUNK + i]];
        if key == 0u {
            return 0u;
        }
        score += score_of(key);
    }
    return key_of(score);
}

// Fills sh_p with probabilities.
fn probabilities(lid: u32, start: u32) {
    if !SOFTMAX {
        for (var e = lid; e < E; e += WG_SIZE) {
            // Implementations may assume that there is no NaN: the exp of SwiftShader makes a number of it.
            let logit = logits[start + e];
            sh_p[e] = select(1.0 / (1.0 + exp(-logit)), logit, is_nan(logit));
        }
        return;
    }
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_p[e] = logits[start + e];
    }
    workgroupBarrier();
    var largest = sh_p[0];
    for (var e = 1u; e < E; e += 1u) {
        largest = max(largest, sh_p[e]);
    }
    workgroupBarrier();
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_p[e] = exp(sh_p[e] - largest);
    }
    workgroupBarrier();
    var sums = vec4<f32>(0.0);
    for (var e = 0u; e < E / 4u; e += 1u) {
        sums += vec4<f32>(sh_p[4u * e], sh_p[4u * e + 1u], sh_p[4u * e + 2u], sh_p[4u * e + 3u]);
    }
    var sum = (sums.x + sums.y) + (sums.z + sums.w);
    for (var e = E / 4u * 4u; e < E; e += 1u) {
        sum += sh_p[e];
    }
    workgroupBarrier();
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_p[e] /= sum;
    }
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    probabilities(lid, params.logits_offset + wid.x * params.logits_stride);
    // Each invocation reads back only what it wrote.
    for (var e = lid; e < E; e += WG_SIZE) {
        sh_keys[e] = key_of(sh_p[e] + bias[e]);
    }
    workgroupBarrier();

    for (var e = lid; e < E; e += WG_SIZE) {
        let chunk = e / CHUNK;
        let key = sh_keys[e];
        var rank = 0u;
        for (var other = chunk * CHUNK; other < chunk_end(chunk); other += 1u) {
            rank += select(0u, 1u, beats(sh_keys[other], other, key, e));
        }
        if rank < PER_CHUNK {
            sh_best[chunk * PER_CHUNK + rank] = e;
        }
    }
    workgroupBarrier();

    for (var chunk = lid; chunk < CHUNKS; chunk += WG_SIZE) {
        var rank = 0u;
        if KEPT < CHUNKS {
            let key = group_key(chunk);
            for (var other = 0u; other < CHUNKS; other += 1u) {
                rank += select(0u, 1u, beats(group_key(other), other, key, chunk));
            }
        }
        sh_kept[chunk] = select(0u, 1u, rank < KEPT);
    }
    workgroupBarrier();

    for (var i = lid; i < BEST; i += WG_SIZE) {
        let chunk = i / PER_CHUNK;
        if sh_kept[chunk] == 0u || chunk * CHUNK + i % PER_CHUNK >= chunk_end(chunk) {
            continue;
        }
        let e = sh_best[i];
        let key = sh_keys[e];
        var rank = 0u;
        for (var other_chunk = 0u; other_chunk < CHUNKS; other_chunk += 1u) {
            let n = min(PER_CHUNK, chunk_end(other_chunk) - other_chunk * CHUNK) * sh_kept[other_chunk];
            for (var j = 0u; j < n; j += 1u) {
                let other = sh_best[other_chunk * PER_CHUNK + j];
                rank += select(0u, 1u, beats(sh_keys[other], other, key, e));
            }
        }
        if rank < A {
            sh_chosen[rank] = e;
        }
    }
    workgroupBarrier();

    let row = wid.x * (A + SHARED);
    for (var a = lid; a < A + SHARED; a += WG_SIZE) {
        if a >= A {
            experts[row + a] = E + a - A;
            expert_weights[row + a] = 1.0;
            continue;
        }
        let e = sh_chosen[a];
        var place = 0u;
        var sum = 0.0;
        for (var other = 0u; other < A; other += 1u) {
            place += select(0u, 1u, sh_chosen[other] < e);
            sum += sh_p[sh_chosen[other]];
        }
        let divisor = select(1.0, sum + 1e-20, NORMALISE);
        experts[row + place] = e;
        expert_weights[row + place] = sh_p[e] / divisor * params.scale;
    }
}

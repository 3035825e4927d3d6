// Second pass: the token of a row, and the row's state one step further.
//
// Grid: workgroup wid.x takes row wid.x. Requires: nothing beyond the base tier. V at most 2^18.
// Numerics: weights e^((l − max) / temperature) are whole multiples of 2^-44 in 64 bits, so that sums do not depend on their order.
//
// Tokens are ranked by (logit down, token up). Every filter keeps a front part of that ranking, so all of them together are one last rank that
// stays, the cut. A search finds it digit by digit: tally the tokens that share the digits found so far by their next digit, take the bin in
// which the goal (a count, or a mass) is reached, until few enough are left to be compared one by one. The draw is the same search over the
// survivors, whose digits are the chunk and the place in it. Chunks whose best token cannot take part are not read.

@group(0) @binding(0) var<storage, read> logits: array<vec4<u32>>; // (T, stride) f32 bits
@group(0) @binding(1) var<storage, read> partials: array<vec4<u32>>; // (T, chunks, 2) key, token, mass as f32 bits, flag | raw key, raw mass
@group(0) @binding(2) var<storage, read_write> state: array<u32>; // (T, state_stride) seed, draws, steps, status, ln p, token, history
@group(0) @binding(3) var<storage, read_write> tokens: array<u32>; // (T) u32
@group(0) @binding(4) var<storage, read_write> positions: array<u32>; // (T) u32

const BINS = 512u;
const SCAN = 256u;
const LIST = 256u;
const UNROLL = 4u;
const PARALLEL = WG_SIZE / CHUNK_LANES;

// Digits: a distance in sixteenths; a distance in keys inside that sixteenth; the key; the chunk; the place in the chunk.
const KEY_DIGITS = 2u;
const CHUNK_DIGIT = 6u;
const DIGITS = 8u;
const STATE_HEADER = 8u;
const BAD_LOGITS = 1u;
const NOTHING_TO_DRAW = 2u;

// Counts, low and high words of masses, by bin.
var<workgroup> sh_tally: array<atomic<u32>, 3 * BINS>;
// Either running sums (count, low, high), or a list (key, token, low, high).
var<workgroup> sh_wide: array<vec4<u32>, SCAN>;
var<workgroup> sh_active: array<u32, BINS>;
var<workgroup> sh_actives: atomic<u32>;
var<workgroup> sh_listed: atomic<u32>;
var<workgroup> sh_included: atomic<u32>;
var<workgroup> sh_flags: atomic<u32>;
var<workgroup> sh_digits: array<u32, DIGITS>;
// The bin that a search takes: its count, and what comes before it (count, low, high).
var<workgroup> sh_in_bin: u32;
var<workgroup> sh_before: vec4<u32>;
// Key and token of the last rank that stays, and the mass up to it.
var<workgroup> sh_cut: vec2<u32>;
var<workgroup> sh_mass: vec2<u32>;
var<workgroup> sh_floor: u32;
// Largest key and shift of the second digit.
var<workgroup> sh_fine: vec2<u32>;

fn fixed(w: f32) -> vec2<u32> {
    let high = u32(w * 4096.0);
    return vec2<u32>(u32((w - f32(high) * 0.000244140625) * 17592186044416.0), high);
}

fn digit(level: u32, key: u32, token: u32, most: u32) -> u32 {
    switch level {
        case 0u: { return u32(min(-distance(key, most) * 16.0, f32(BINS - 1u))); }
        case 1u: { return min((sh_fine.x - min(key, sh_fine.x)) >> sh_fine.y, BINS - 1u); }
        case 2u: { return 511u - (key >> 23u); }
        case 3u: { return 511u - ((key >> 14u) & 511u); }
        case 4u: { return 511u - ((key >> 5u) & 511u); }
        case 5u: { return 31u - (key & 31u); }
        case 6u: { return token / CHUNK; }
        default: { return token % CHUNK; }
    }
}

fn tally(bin: u32, w: vec2<u32>) {
    atomicAdd(&sh_tally[bin], 1u);
    let low = atomicAdd(&sh_tally[BINS + bin], w.x);
    atomicAdd(&sh_tally[2u * BINS + bin], w.y + u32(low + w.x < low));
}

// Looks at one token: tallies it by digit `level`, or where `listing`, lists it, if it is not behind the cut and shares digits first..level.
fn look(key: u32, token: u32, most: u32, first: u32, level: u32, listing: bool) {
    if key < sh_cut.x || (key == sh_cut.x && token > sh_cut.y) || key == 0u {
        return;
    }
    let x = distance(key, most);
    if first == CHUNK_DIGIT && x < params.log_min_p {
        return;
    }
    for (var i = first; i < level; i += 1u) {
        if digit(i, key, token, most) != sh_digits[i] {
            return;
        }
    }
    let w = fixed(weight(x));
    if listing {
        sh_wide[atomicAdd(&sh_listed, 1u)] = vec4<u32>(key, token, w);
    } else {
        tally(digit(level, key, token, most), w);
    }
}

// Looks at the tokens of the active chunks.
fn look_at_all(t: u32, lid: u32, most: u32, first: u32, level: u32, listing: bool) {
    let n = atomicLoad(&sh_actives);
    let lane = lid % CHUNK_LANES;
    for (var i = lid / CHUNK_LANES; i < n; i += PARALLEL * UNROLL) {
        var keys: array<vec4<u32>, UNROLL>;
        for (var j = 0u; j < UNROLL; j += 1u) {
            if i + j * PARALLEL < n {
                keys[j] = keys4(t, sh_active[i + j * PARALLEL] * CHUNK_LANES + lane);
            } else {
                keys[j] = vec4<u32>();
            }
        }
        for (var j = 0u; j < UNROLL; j += 1u) {
            if i + j * PARALLEL < n {
                let token = sh_active[i + j * PARALLEL] * CHUNK + lane * 4u;
                for (var k = 0u; k < 4u; k += 1u) {
                    look(keys[j][k], token + k, most, first, level, listing);
                }
            }
        }
    }
}

// Makes those chunks active whose best key is at least `least`.
fn activate(t: u32, lid: u32, least: u32) {
    workgroupBarrier();
    if lid == 0u {
        atomicStore(&sh_actives, 0u);
    }
    workgroupBarrier();
    for (var c = lid; c < params.chunks; c += WG_SIZE) {
        if partials[2u * (t * params.chunks + c)].x >= max(least, 1u) {
            sh_active[atomicAdd(&sh_actives, 1u)] = c;
        }
    }
    workgroupBarrier();
}

fn clear_tally(lid: u32) {
    workgroupBarrier();
    for (var i = lid; i < 3u * BINS; i += WG_SIZE) {
        atomicStore(&sh_tally[i], 0u);
    }
    workgroupBarrier();
}

// Tallies the chunks by the masses of the first pass.
fn tally_chunks(t: u32, lid: u32, most: u32) {
    clear_tally(lid);
    for (var c = lid; c < params.chunks; c += WG_SIZE) {
        let partial = partials[2u * (t * params.chunks + c)];
        if partial.x != 0u {
            tally(c, fixed(bitcast<f32>(partial.z) * weight(distance(partial.x, most))));
        }
    }
}

fn bin_of(i: u32) -> vec4<u32> {
    return vec4<u32>(atomicLoad(&sh_tally[i]), atomicLoad(&sh_tally[BINS + i]), atomicLoad(&sh_tally[2u * BINS + i]), 0u);
}

fn plus(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(a.x + b.x, add64(a.yz, b.yz), 0u);
}

// Running sums over pairs of bins, in sh_wide; returns the sum over all.
fn scan_tally(lid: u32) -> vec4<u32> {
    workgroupBarrier();
    var sum = vec4<u32>();
    if lid < SCAN {
        sum = plus(bin_of(2u * lid), bin_of(2u * lid + 1u));
        sh_wide[lid] = sum;
    }
    workgroupBarrier();
    for (var s = 1u; s < SCAN; s *= 2u) {
        if lid >= s && lid < SCAN {
            sum = plus(sh_wide[lid - s], sum);
        }
        workgroupBarrier();
        if lid < SCAN {
            sh_wide[lid] = sum;
        }
        workgroupBarrier();
    }
    return sh_wide[SCAN - 1u];
}

// Whether `sum` reaches the goal (count, low, high): its count where that is not 0, else its mass.
fn reaches(sum: vec4<u32>, goal: vec4<u32>) -> bool {
    if goal.x != 0u {
        return sum.x >= goal.x;
    }
    return !less64(sum.yz, goal.yz);
}

// Takes the bin in which the sum, with `start` before all of them, reaches the goal. Needs running sums. Returns whether there is one.
fn take_bin(lid: u32, level: u32, start: vec4<u32>, goal: vec4<u32>) -> bool {
    if lid == 0u {
        sh_in_bin = 0u;
    }
    workgroupBarrier();
    if lid < SCAN {
        var before = start;
        if lid > 0u {
            before = plus(start, sh_wide[lid - 1u]);
        }
        for (var i = 2u * lid; i < 2u * lid + 2u; i += 1u) {
            let bin = bin_of(i);
            let after = plus(before, bin);
            if !reaches(before, goal) && reaches(after, goal) {
                sh_digits[level] = i;
                sh_in_bin = bin.x;
                sh_before = before;
            }
            before = after;
        }
    }
    return workgroupUniformLoad(&sh_in_bin) != 0u;
}

// Moves the cut to the rank at which the goal is reached, and sh_mass to the mass up to it. Without such a rank the cut stays.
fn search(t: u32, lid: u32, most: u32, goal: vec4<u32>) {
    var start = vec4<u32>();
    for (var level = 0u; level < DIGITS; level += 1u) {
        clear_tally(lid);
        look_at_all(t, lid, most, 0u, level, false);
        let total = scan_tally(lid);
        if !take_bin(lid, level, start, goal) {
            if lid == 0u {
                sh_mass = plus(start, total).yz;
            }
            break;
        }
        start = workgroupUniformLoad(&sh_before);
        if lid == 0u && level == 0u {
            let step = params.temperature / 16.0;
            let nearest = value_of(most) - f32(sh_digits[0]) * step;
            let high = min(key_of(bitcast<u32>(nearest)), most);
            let low = key_of(bitcast<u32>(nearest - step));
            let bits = 32u - countLeadingZeros(high - min(low, high));
            sh_fine = vec2<u32>(high, max(bits, 9u) - 9u);
        }
        if workgroupUniformLoad(&sh_in_bin) <= LIST {
            list_and_cut(t, lid, most, level + 1u, start, goal);
            break;
        }
    }
    workgroupBarrier();
}

// Compares the tokens of the taken bin one by one.
fn list_and_cut(t: u32, lid: u32, most: u32, level: u32, start: vec4<u32>, goal: vec4<u32>) {
    if lid == 0u {
        atomicStore(&sh_listed, 0u);
        atomicStore(&sh_included, 0u);
    }
    workgroupBarrier();
    look_at_all(t, lid, most, 0u, level, true);
    workgroupBarrier();
    let n = atomicLoad(&sh_listed);
    var before = start;
    var mine = vec4<u32>();
    var is_included = false;
    if lid < n {
        mine = sh_wide[lid];
        for (var i = 0u; i < n; i += 1u) {
            let other = sh_wide[i];
            if other.x > mine.x || (other.x == mine.x && other.y < mine.y) {
                before = plus(before, vec4<u32>(1u, other.zw, 0u));
            }
        }
        is_included = !reaches(before, goal);
        if is_included {
            atomicAdd(&sh_included, 1u);
        }
    }
    workgroupBarrier();
    if is_included && before.x - start.x == atomicLoad(&sh_included) - 1u {
        sh_cut = mine.xy;
        sh_mass = add64(before.yz, mine.zw);
    }
}

// A lower bound of the top_k-th key: the top_k-th best key of a chunk.
fn top_k_floor(t: u32, lid: u32) -> u32 {
    if lid == 0u {
        sh_floor = 0u;
    }
    if params.top_k > params.chunks {
        return workgroupUniformLoad(&sh_floor);
    }
    for (var c = lid; c < params.chunks; c += WG_SIZE) {
        sh_active[c] = partials[2u * (t * params.chunks + c)].x;
    }
    workgroupBarrier();
    for (var c = lid; c < params.chunks; c += WG_SIZE) {
        let key = sh_active[c];
        var rank = 0u;
        for (var i = 0u; i < params.chunks; i += 1u) {
            rank += u32(sh_active[i] > key || (sh_active[i] == key && i < c));
        }
        if rank + 1u == params.top_k {
            sh_floor = key;
        }
    }
    return workgroupUniformLoad(&sh_floor);
}

// The key of the logit at `x`, a distance over the temperature.
fn key_at(x: f32, most: u32) -> u32 {
    return key_of(bitcast<u32>(max(value_of(most) + x * params.temperature, -3.4e38)));
}

// Steps 5 to 7 of the sampler, then the draw.
fn draw(t: u32, lid: u32, most: u32) -> u32 {
    if lid == 0u {
        sh_cut = vec2<u32>(0u, 0xFFFFFFFFu);
    }
    let has_top_k = params.top_k != 0u && params.top_k < params.v;
    if has_top_k {
        activate(t, lid, top_k_floor(t, lid));
        search(t, lid, most, vec4<u32>(params.top_k, 0u, 0u, 0u));
    }
    if params.top_p != 0u {
        var least = workgroupUniformLoad(&sh_cut).x;
        var mass = workgroupUniformLoad(&sh_mass);
        if !has_top_k {
            tally_chunks(t, lid, most);
            mass = scan_tally(lid).yz;
            // What lies below has at most a tenth less than 1 − p of the mass, even if all tokens do.
            let rest = params.rest_p * f32(mass.y) * 0.000244140625;
            least = key_at(log(rest / f32(params.v)) - 0.1, most);
        }
        let scaled = multiply(mass.x, params.top_p);
        let goal = add64(multiply(mass.y, params.top_p), vec2<u32>(scaled.y, 0u));
        activate(t, lid, least);
        search(t, lid, most, vec4<u32>(0u, add64(goal, vec2<u32>(u32(scaled.x != 0u), 0u)), 0u));
    }
    let is_filtered = has_top_k || params.top_p != 0u || params.log_min_p > -1e30;
    if is_filtered {
        let least = workgroupUniformLoad(&sh_cut).x;
        // A little below what min-p asks for; each token is then judged by itself.
        activate(t, lid, max(least, key_at(max(params.log_min_p, -1e30) * 1.00001 - 0.001, most)));
        clear_tally(lid);
        look_at_all(t, lid, most, CHUNK_DIGIT, CHUNK_DIGIT, false);
    } else {
        tally_chunks(t, lid, most);
    }
    return draw_survivor(t, lid, most);
}

// Draws from the chunks tallied; needs the filters' cut.
fn draw_survivor(t: u32, lid: u32, most: u32) -> u32 {
    let total = scan_tally(lid);
    let row = t * params.state_stride;
    let fraction = uniform64(vec2<u32>(state[row], state[row + 1u]), vec2<u32>(state[row + 2u], state[row + 3u]));
    let target_mass = high64(fraction, total.yz);
    let goal = vec4<u32>(0u, add64(target_mass, vec2<u32>(1u, 0u)), 0u);
    take_bin(lid, CHUNK_DIGIT, vec4<u32>(), goal);
    let start = workgroupUniformLoad(&sh_before);
    let chunk = sh_digits[CHUNK_DIGIT];
    workgroupBarrier();
    if lid == 0u {
        sh_active[0] = chunk;
        atomicStore(&sh_actives, 1u);
    }
    clear_tally(lid);
    look_at_all(t, lid, most, CHUNK_DIGIT, DIGITS - 1u, false);
    let inside = scan_tally(lid);
    // The first pass adds a chunk's masses in another order; a goal beyond the chunk is its last token's.
    let last = add64(start.yz, inside.yz);
    var reachable = goal;
    if less64(last, goal.yz) {
        reachable = vec4<u32>(0u, last, 0u);
    }
    if take_bin(lid, DIGITS - 1u, vec4<u32>(0u, start.yz, 0u), reachable) {
        return chunk * CHUNK + sh_digits[DIGITS - 1u];
    }
    return partials[2u * (t * params.chunks + chunk)].y;
}

// The best token of a row, the largest logit and the mass of all logits as the model gives them, in sh_wide[0]; flags in sh_flags.
fn find_best(t: u32, lid: u32) {
    if lid == 0u {
        atomicStore(&sh_flags, 0u);
    }
    workgroupBarrier();
    if lid < SCAN {
        var best = vec2<u32>();
        var raw = 0u;
        var flags = 0u;
        for (var c = lid; c < params.chunks; c += SCAN) {
            let partial = partials[2u * (t * params.chunks + c)];
            flags |= partial.w;
            // Later chunks have higher tokens, which lose a tie.
            if partial.x > best.x {
                best = partial.xy;
            }
            raw = max(raw, partials[2u * (t * params.chunks + c) + 1u].x);
        }
        sh_wide[lid] = vec4<u32>(best, raw, 0u);
        if flags != 0u {
            atomicOr(&sh_flags, BAD_LOGITS);
        }
    }
    workgroupBarrier();
    for (var half = SCAN / 2u; half > 0u; half /= 2u) {
        if lid < half {
            let a = sh_wide[lid];
            let b = sh_wide[lid + half];
            let best = select(a.xy, b.xy, b.x > a.x || (b.x == a.x && b.y < a.y));
            sh_wide[lid] = vec4<u32>(best, max(a.z, b.z), 0u);
        }
        workgroupBarrier();
    }
    sum_raw(t, lid, workgroupUniformLoad(&sh_wide[0]).z);
}

// The mass of all logits as the model gives them, relative to the largest, whose key is `most`, in sh_wide[0].w.
fn sum_raw(t: u32, lid: u32, most: u32) {
    if lid < SCAN {
        var mass = 0.0;
        for (var c = lid; c < params.chunks; c += SCAN) {
            let raw = partials[2u * (t * params.chunks + c) + 1u].xy;
            if raw.x != 0u {
                mass += bitcast<f32>(raw.y) * weight(value_of(raw.x) - value_of(most));
            }
        }
        sh_wide[lid].w = bitcast<u32>(mass);
    }
    workgroupBarrier();
    for (var half = SCAN / 2u; half > 0u; half /= 2u) {
        if lid < half {
            sh_wide[lid].w = bitcast<u32>(bitcast<f32>(sh_wide[lid].w) + bitcast<f32>(sh_wide[lid + half].w));
        }
        workgroupBarrier();
    }
}

// The logarithm of the model's probability of a token, before penalties, bias and temperature.
fn logprob(t: u32, token: u32, most: u32, mass: f32) -> f32 {
    let raw = logits[t * params.stride + params.offset + token / 4u][token % 4u];
    return value_of(key_of(raw)) - value_of(most) - log(mass);
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let t = wid.x;
    find_best(t, lid);
    let best = workgroupUniformLoad(&sh_wide[0]);
    var token = best.y;
    if params.temperature > 0.0 && best.x != 0u {
        token = draw(t, lid, best.x);
    }
    if lid == 0u {
        var status = atomicLoad(&sh_flags);
        if best.x == 0u {
            status |= NOTHING_TO_DRAW;
            token = 0u;
        }
        advance(t, token, status, logprob(t, token, best.z, bitcast<f32>(best.w)));
    }
}

// Writes the token where the next step and the host look for it.
fn advance(t: u32, token: u32, status: u32, logprob: f32) {
    let row = t * params.state_stride;
    if params.temperature > 0.0 {
        let draws = add64(vec2<u32>(state[row + 2u], state[row + 3u]), vec2<u32>(1u, 0u));
        state[row + 2u] = draws.x;
        state[row + 3u] = draws.y;
    }
    let steps = state[row + 4u];
    if steps < params.state_stride - STATE_HEADER {
        state[row + STATE_HEADER + steps] = token;
    }
    state[row + 4u] = steps + 1u;
    state[row + 5u] |= status;
    state[row + 6u] = bitcast<u32>(logprob);
    state[row + 7u] = token;
    tokens[t] = token;
    positions[t] += 1u;
    count_token(t * ((params.v + 3u) / 4u) * 4u + token);
}

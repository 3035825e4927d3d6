// First pass: the best token of every chunk, the chunk's mass relative to it, and whether a logit is NaN or +∞; and of the logits as the model
// gives them, before penalties, bias and temperature, the largest and the mass relative to it.
//
// Grid: a workgroup of 256 takes two chunks of 512 tokens of one row, four tokens for each invocation.
// Requires: nothing beyond the base tier; rows of logits aligned to four.
// Numerics: f32, a tree of additions in a fixed order.

@group(0) @binding(0) var<storage, read> logits: array<vec4<u32>>; // (T, stride) f32 bits
@group(0) @binding(1) var<storage, read_write> partials: array<vec4<u32>>; // (T, chunks, 2) key, token, mass as f32 bits, flag | raw key, raw mass

var<workgroup> sh_best: array<vec4<u32>, 256>;
// Masses with and without adjustment and temperature.
var<workgroup> sh_mass: array<vec2<f32>, 256>;

fn better(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let best = select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y));
    return vec4<u32>(best.xy, max(a.z, b.z), a.w | b.w);
}

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) grid: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let group = wid.y * grid.x + wid.x;
    let pairs = (params.chunks + 1u) / 2u;
    let t = group / pairs;
    if t >= params.t {
        return;
    }
    let chunk = (group % pairs) * 2u + lid / CHUNK_LANES;
    let lane = lid % CHUNK_LANES;
    let vector = chunk * CHUNK_LANES + lane;
    let keys = keys4(t, vector);
    var best = vec4<u32>(keys.x, vector * 4u, 0u, 0u);
    for (var i = 1u; i < 4u; i += 1u) {
        best = better(best, vec4<u32>(keys[i], vector * 4u + i, 0u, 0u));
    }
    var raw_keys = vec4<u32>();
    if vector * 4u < params.v {
        let raw = logits[t * params.stride + params.offset + vector];
        for (var i = 0u; i < 4u; i += 1u) {
            let is_bad = (raw[i] & 0x7FFFFFFFu) > 0x7F800000u || raw[i] == 0x7F800000u;
            let is_token = vector * 4u + i < params.v;
            best.w |= u32(is_bad && is_token);
            raw_keys[i] = select(0u, key_of(raw[i]), is_token);
            best.z = max(best.z, raw_keys[i]);
        }
    }
    sh_best[lid] = best;
    workgroupBarrier();
    for (var half = CHUNK_LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            sh_best[lid] = better(sh_best[lid], sh_best[lid + half]);
        }
        workgroupBarrier();
    }
    best = sh_best[lid - lane];
    workgroupBarrier();
    var masses = vec2<f32>();
    for (var i = 0u; i < 4u; i += 1u) {
        if keys[i] != 0u && params.temperature > 0.0 {
            masses.x += weight(distance(keys[i], best.x));
        }
        if raw_keys[i] != 0u {
            masses.y += weight(value_of(raw_keys[i]) - value_of(best.z));
        }
    }
    sh_mass[lid] = masses;
    workgroupBarrier();
    for (var half = CHUNK_LANES / 2u; half > 0u; half /= 2u) {
        if lane < half {
            sh_mass[lid] += sh_mass[lid + half];
        }
        workgroupBarrier();
    }
    if lane == 0u && chunk < params.chunks {
        let mass = bitcast<vec2<u32>>(sh_mass[lid]);
        let at = 2u * (t * params.chunks + chunk);
        partials[at] = vec4<u32>(best.xy, mass.x, best.w);
        partials[at + 1u] = vec4<u32>(best.z, mass.y, 0u, 0u);
    }
}

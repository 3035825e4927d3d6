// First pass: the best token of every chunk, the chunk's mass relative to it, and whether a logit is NaN or +∞.
//
// Grid: a workgroup of 256 takes two chunks of 512 tokens of one row, four tokens for each invocation.
// Requires: nothing beyond the base tier; rows of logits aligned to four.
// Numerics: f32, a tree of additions in a fixed order.

@group(0) @binding(0) var<storage, read> logits: array<vec4<u32>>; // (T, stride) f32 bits
@group(0) @binding(1) var<storage, read_write> partials: array<vec4<u32>>; // (T, chunks) key, token, mass as f32 bits, flag

var<workgroup> sh_best: array<vec4<u32>, 256>;

fn better(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
    let best = select(b, a, a.x > b.x || (a.x == b.x && a.y < b.y));
    return vec4<u32>(best.xy, 0u, a.w | b.w);
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
    if vector * 4u < params.v {
        let raw = logits[t * params.stride + params.offset + vector];
        for (var i = 0u; i < 4u; i += 1u) {
            let is_bad = (raw[i] & 0x7FFFFFFFu) > 0x7F800000u || raw[i] == 0x7F800000u;
            best.w |= u32(is_bad && vector * 4u + i < params.v);
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
    var mass = 0.0;
    if params.temperature > 0.0 {
        for (var i = 0u; i < 4u; i += 1u) {
            if keys[i] != 0u {
                mass += weight(distance(keys[i], best.x));
            }
        }
        sh_best[lid].x = bitcast<u32>(mass);
        workgroupBarrier();
        for (var half = CHUNK_LANES / 2u; half > 0u; half /= 2u) {
            if lane < half {
                sh_best[lid].x = bitcast<u32>(bitcast<f32>(sh_best[lid].x) + bitcast<f32>(sh_best[lid + half].x));
            }
            workgroupBarrier();
        }
        mass = bitcast<f32>(sh_best[lid - lane].x);
    }
    if lane == 0u && chunk < params.chunks {
        partials[t * params.chunks + chunk] = vec4<u32>(best.xy, bitcast<u32>(mass), best.w);
    }
}

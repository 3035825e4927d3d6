// logs[t] = log2 Σ_s exp(I[t, s]) over the keys that t sees, with I[t, s] = Σ_j w[t, j] · max(0, qi[t, j] · ki[s]), on cooperative matrices.
//
// Grid: wid.x counts tiles of 64 tokens from the last, which sees most; wid.y is the sequence.
// Tiles of 64 keys stream by; each lane keeps maximum and sum of what it sees of a row, which are put together at the end.
// Requires: cooperative matrices; subgroups of LANES lanes, consecutive invocations; DI a multiple of 16, HI of 4.
// Numerics: f16 products of queries and keys; f32 sums.

@group(0) @binding(1) var<storage, read> index: array<vec4<f32>>; // (B, T, HI · DI + DI + HI) f32
@group(0) @binding(2) var<storage, read_write> logs: array<vec2<f32>>; // (B, T, 2) f32, the logarithm in powers of two, and room for the loss
@group(0) @binding(3) var<storage, read> params: Params;

// Attention has no part in this.
fn fetch_attention(h: u32, at: Place, lid: u32) -> Item {
    return Item();
}

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let part = part_of(lid);
    let own = TILE * (grid.x - 1u - wid.x);
    let row = part.rows + part.lane % 16u;
    var at = Place(wid.y, own, first_key(wid.y, own) / TILE * TILE);
    var item = fetch(0u, at, lid);
    var place = 0u;
    advance(&item, 0u, place, at, lid);
    workgroupBarrier();
    var largest = LOWEST;
    var total = 0.0;
    while at.other < min(own + TILE, params.t) {
        let word = visible_word(at.b, own + row, (at.other + part.columns) / 32u);
        var scores: Quads;
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            scores[j] = vec4(0.0);
        }
        for (var n = 0u; n < HI; n += 1u) {
            multiply(DI / 16u, part);
            workgroupBarrier();
            advance(&item, n + 1u, 1u - place, at, lid);
            add_scores(&scores, part, place);
            place = 1u - place;
            workgroupBarrier();
        }
        var most = LOWEST;
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            scores[j] = select(vec4(LOWEST), scores[j] * LOG2_E, seen_of(part, word, own, j));
            most = max(most, max(max(scores[j].x, scores[j].y), max(scores[j].z, scores[j].w)));
        }
        let before = largest;
        largest = max(before, most);
        total *= exp2(before - largest);
        for (var j = 0u; j < SHARE; j += 1u) { // unrolled
            total += dot(exp2(scores[j] - max(largest, -1e30)), vec4(1.0));
        }
        at.other += TILE;
    }
    for (var mask = 16u; mask < LANES; mask *= 2u) {
        let other = vec2(subgroupShuffleXor(largest, mask), subgroupShuffleXor(total, mask));
        let most = max(largest, other.x);
        total = total * exp2(largest - most) + other.y * exp2(other.x - most);
        largest = most;
    }
    if part.lane < 16u {
        sh_sums[part.columns * 2u + row] = vec2(largest, total);
    }
    workgroupBarrier();
    if lid < TILE && own + lid < params.t {
        let most = max(sh_sums[lid].x, sh_sums[TILE + lid].x);
        let sum = sh_sums[lid].y * exp2(sh_sums[lid].x - most) + sh_sums[TILE + lid].y * exp2(sh_sums[TILE + lid].x - most);
        logs[token_at(at.b, own + lid)] = vec2(select(-LOWEST, most + log2(sum), sum > 0.0), 0.0);
    }
}

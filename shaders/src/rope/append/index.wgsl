// The indexer's part: workgroup 0 takes the key, the others the queries.
//
// A query whose key is neither transformed nor FP8 needs its rotated part only; else a group of Di/8 invocations takes a whole row, and the
// transform exchanges vectors between them. Queries are replaced where they are. With FP8 they become the e4m3 values themselves, and their
// scale goes into the head's weight.

@group(0) @binding(PROJECTIONS) var<storage, read_write> projections: array<f32>; // (T, p_stride) f32
@group(0) @binding(QUERIES) var<storage, read_write> queries: array<vec4<f32>>; // (T, q_stride) f32
@group(0) @binding(INDEX_CACHE) var<storage, read_write> index_cache: array<u32>; // (rows, Di) values, or (pages, 16·Di + 64) words of FP8

// Invocations that share a whole row; INDEX_LANES share what is taken of it: WHOLE, or where nothing else changes, its rotated part.
const ROW_LANES = INDEX_DIM / 8u;
const INDEX_UNITS = 1u + (INDEX_HEADS * INDEX_LANES + WG_SIZE - 1u) / WG_SIZE;
const PAGE_WORDS = 16u * INDEX_DIM + 64u;

var<workgroup> sh_vectors: array<vec4<f32>, HADAMARD_SLOTS>;

// The Hadamard transform of a row, in the places that `spots` gives: a tensor product, so the order of its stages does not matter.
fn hadamard(row: Eight, lid: u32) -> Eight {
    var v = Eight(butterfly(row.a + row.b), butterfly(row.a - row.b));
    for (var s = 1u; s < ROW_LANES; s *= 2u) {
        sh_vectors[lid] = v.a;
        sh_vectors[lid + WG_SIZE] = v.b;
        workgroupBarrier();
        let other = Eight(sh_vectors[lid ^ s], sh_vectors[(lid ^ s) + WG_SIZE]);
        let sign = select(1.0, -1.0, (lid & s) != 0u);
        v = Eight(other.a + sign * v.a, other.b + sign * v.b);
        workgroupBarrier();
    }
    let scale = 1.0 / sqrt(f32(INDEX_DIM));
    return Eight(v.a * scale, v.b * scale);
}

fn butterfly(v: vec4<f32>) -> vec4<f32> {
    let s = v.xz + v.yw;
    let d = v.xz - v.yw;
    return vec4<f32>(s.x + s.y, d.x + d.y, s.x - s.y, d.x - d.y);
}

fn index(t: u32, unit: u32, at: Lane) {
    if unit == 0u {
        index_key(t, at);
    } else if WHOLE {
        whole_queries(t, (unit - 1u) * WG_SIZE + at.lid, at.lid);
    } else {
        rotated_queries(t, (unit - 1u) * WG_SIZE + at.lid);
    }
}

fn rotated_queries(t: u32, unit: u32) {
    if unit >= INDEX_HEADS * ROPE_LANES {
        return;
    }
    let head = unit / ROPE_LANES;
    let lane = unit % ROPE_LANES;
    let at = t * params.q_stride + params.index_q_offset + head * INDEX_DIM + spots(lane, INDEX_HALF_SPLIT);
    let v = rotated(Eight(queries[at.x / 4u], queries[at.y / 4u]), angles(t, lane), INDEX_HALF_SPLIT);
    queries[at.x / 4u] = v.a;
    queries[at.y / 4u] = v.b;
    if lane == 0u {
        projections[t * params.p_stride + params.index_w_offset + head] *= params.w_scale;
    }
}

fn whole_queries(t: u32, unit: u32, lid: u32) {
    let is_row = unit < INDEX_HEADS * ROW_LANES;
    let head = unit / ROW_LANES;
    let lane = unit % ROW_LANES;
    let at = t * params.q_stride + params.index_q_offset + head * INDEX_DIM + spots(lane, INDEX_HALF_SPLIT);
    var v = Eight();
    if is_row {
        v = Eight(queries[at.x / 4u], queries[at.y / 4u]);
        if lane < ROPE_LANES {
            v = rotated(v, angles(t, lane), INDEX_HALF_SPLIT);
        }
    }
    if HADAMARD {
        v = hadamard(v, lid);
    }
    var scale = params.w_scale;
    if INDEX_FORMAT == FP8 {
        let exponent = ue8m0_exponent(group_max(largest(v), lid, ROW_LANES));
        let inverse = power_of_two(-exponent);
        v = Eight(round_e4m3(v.a * inverse), round_e4m3(v.b * inverse));
        scale *= power_of_two(exponent);
    }
    if is_row {
        queries[at.x / 4u] = v.a;
        queries[at.y / 4u] = v.b;
        if lane == 0u {
            projections[t * params.p_stride + params.index_w_offset + head] *= scale;
        }
    }
}

fn index_key(t: u32, at: Lane) {
    let lid = at.lid;
    let is_row = lid < ROW_LANES;
    let spot = spots(lid, INDEX_HALF_SPLIT);
    let source = t * params.p_stride + params.index_k_offset;
    let row = row_of(t);
    var v = Eight();
    var gain = Eight();
    var bias = Eight();
    if is_row {
        v = Eight(projection4(source + spot.x), projection4(source + spot.y));
        let first = (LATENT + spot) / 4u;
        gain = Eight(norms[first.x], norms[first.y]);
        bias = Eight(norms[first.x + INDEX_DIM / 4u], norms[first.y + INDEX_DIM / 4u]);
    }
    var by = Angles();
    if lid < ROPE_LANES {
        by = angles(t, lid);
    }
    let mean = workgroup_sum(sum_of(v), lid, lane_of(at), lanes_of(at)) / f32(INDEX_DIM);
    if is_row {
        v = Eight(v.a - mean, v.b - mean);
    }
    let squares = workgroup_sum(sum_of(Eight(v.a * v.a, v.b * v.b)), lid, lane_of(at), lanes_of(at));
    if is_row {
        let scale = inverseSqrt(squares / f32(INDEX_DIM) + params.index_eps);
        v = Eight(gain.a * (v.a * scale) + bias.a, gain.b * (v.b * scale) + bias.b);
        if lid < ROPE_LANES {
            v = rotated(v, by, INDEX_HALF_SPLIT);
        }
    }
    if HADAMARD {
        v = hadamard(v, lid);
    }
    var amax = 0.0;
    if INDEX_FORMAT == FP8 {
        amax = group_max(largest(v), lid, ROW_LANES);
    }
    if row != 0xFFFFFFFFu && is_row {
        store_key(row, spot, v, amax);
    }
}

fn store_key(row: u32, spot: vec2<u32>, v: Eight, amax: f32) {
    if INDEX_FORMAT == FP8 {
        let exponent = ue8m0_exponent(amax);
        let inverse = power_of_two(-exponent);
        let page = row / 64u * PAGE_WORDS;
        let start = page + row % 64u * (INDEX_DIM / 4u);
        index_cache[start + spot.x / 4u] = pack_e4m3(v.a * inverse);
        index_cache[start + spot.y / 4u] = pack_e4m3(v.b * inverse);
        if spot.x == 0u {
            index_cache[page + 16u * INDEX_DIM + row % 64u] = bitcast<u32>(power_of_two(exponent));
        }
    } else if INDEX_FORMAT == F16 {
        let start = row * (INDEX_DIM / 2u);
        index_cache[start + spot.x / 2u] = pack_f16(v.a.x, v.a.y);
        index_cache[start + spot.x / 2u + 1u] = pack_f16(v.a.z, v.a.w);
        index_cache[start + spot.y / 2u] = pack_f16(v.b.x, v.b.y);
        index_cache[start + spot.y / 2u + 1u] = pack_f16(v.b.z, v.b.w);
    } else {
        for (var i = 0u; i < 4u; i += 1u) {
            index_cache[row * INDEX_DIM + spot.x + i] = bitcast<u32>(v.a[i]);
            index_cache[row * INDEX_DIM + spot.y + i] = bitcast<u32>(v.b[i]);
        }
    }
}

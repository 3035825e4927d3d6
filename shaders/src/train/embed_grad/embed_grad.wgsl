// dE[v] = Σ_t [ids[t] = v] · dh[t] over a part of the tokens: IDS rows of the table and WG_SIZE columns for each workgroup.
//
// Grid: x over the rows of the table, y over the columns, z over the parts. An invocation has one column; it sees all ids of the part.
// Requires: nothing beyond the base tier.
// Numerics: f32, sums in the order of the tokens.

struct Params {
    t: u32,
    vocab: u32,
    d: u32,
    rows: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<i32>; // (T) token ids
@group(0) @binding(1) var<storage, read> dh: array<f32>; // (T, D) f32
@group(0) @binding(2) var<storage, read_write> parts: array<f32>; // (Z, V, D) f32
@group(0) @binding(3) var<storage, read> params: Params;

// Which of the workgroup's rows a token belongs to; IDS for none.
var<workgroup> sh_slot: array<u32, WG_SIZE>;
var<workgroup> sh_found: atomic<u32>;

@compute @workgroup_size(WG_SIZE)
fn main(@builtin(local_invocation_index) lid: u32, @builtin(workgroup_id) wid: vec3<u32>) {
    let first = wid.x * IDS;
    let column = wid.y * WG_SIZE + lid;
    let source = min(column, params.d - 1u);
    var sums: array<f32, IDS>;
    for (var q = 0u; q < IDS; q += 1u) { // unrolled
        sums[q] = 0.0;
    }
    let end = min((wid.z + 1u) * params.rows, params.t);
    for (var token = wid.z * params.rows; token < end; token += WG_SIZE) {
        if lid == 0u {
            atomicStore(&sh_found, 0u);
        }
        workgroupBarrier();
        let slot = select(IDS, u32(ids[min(token + lid, params.t - 1u)]) - first, token + lid < end);
        sh_slot[lid] = slot;
        if slot < IDS {
            atomicStore(&sh_found, 1u);
        }
        workgroupBarrier();
        if atomicLoad(&sh_found) != 0u {
            for (var j = 0u; j < WG_SIZE; j += 1u) {
                let place = sh_slot[j];
                if place < IDS {
                    let value = dh[(token + j) * params.d + source];
                    for (var q = 0u; q < IDS; q += 1u) { // unrolled
                        sums[q] += select(0.0, value, q == place);
                    }
                }
            }
        }
        workgroupBarrier();
    }
    for (var q = 0u; q < IDS; q += 1u) { // unrolled
        if first + q < params.vocab && column < params.d {
            parts[(wid.z * params.vocab + first + q) * params.d + column] = sums[q];
        }
    }
}

// loss = ln Σ_v exp(logits[v]) − logits[target], one row for each workgroup, and logits become scale · (softmax(logits) − [v = target]).
//
// Grid: a workgroup for each row, see `grid` of the host; its invocations stride over the row three times.
// Requires: nothing beyond the base tier.
// Numerics: f32; the largest logit is subtracted first, and sums have a fixed order.

struct Params {
    rows: u32,
    vocab: u32,
    scale: f32,
}

@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // (R, V) f32, in place
@group(0) @binding(1) var<storage, read> targets: array<i32>; // (R) token ids
@group(0) @binding(2) var<storage, read_write> loss: array<f32>; // (R) f32, nats
@group(0) @binding(3) var<storage, read> params: Params;

var<workgroup> sh_largest: array<f32, WG_SIZE>;

fn workgroup_max(value: f32, lid: u32) -> f32 {
    sh_largest[lid] = value;
    workgroupBarrier();
    for (var half = WG_SIZE / 2u; half > 0u; half /= 2u) {
        if lid < half {
            sh_largest[lid] = max(sh_largest[lid], sh_largest[lid + half]);
        }
        workgroupBarrier();
    }
    return sh_largest[0];
}

@compute @workgroup_size(WG_SIZE)
fn main(at: Lane, @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
    let row = wid.y * grid.x + wid.x;
    if row >= params.rows {
        return;
    }
    let first = row * params.vocab;
    let chosen = u32(targets[row]);
    var most = -3.0e38;
    for (var v = at.lid; v < params.vocab; v += WG_SIZE) {
        most = max(most, logits[first + v]);
    }
    let largest = workgroup_max(most, at.lid);
    var part = 0.0;
    for (var v = at.lid; v < params.vocab; v += WG_SIZE) {
        part += exp(logits[first + v] - largest);
    }
    let sum = workgroup_sum(part, at.lid, lane_of(at), lanes_of(at));
    for (var v = at.lid; v < params.vocab; v += WG_SIZE) {
        let above = logits[first + v] - largest;
        if v == chosen {
            loss[row] = log(sum) - above;
        }
        logits[first + v] = params.scale * (exp(above) / sum - select(0.0, 1.0, v == chosen));
    }
}

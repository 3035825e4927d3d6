// Sums of SUMS values over each team of TEAM consecutive invocations: inside each subgroup first, then over the subgroups.
// Needs WG_SIZE, a multiple of TEAM; where there are several teams, a subgroup must not reach over two.

// A subgroup has at least four lanes.
const SUBGROUPS: u32 = (WG_SIZE + 3u) / 4u;
var<workgroup> sh_sums: array<f32, SUMS * SUBGROUPS>;

// Every invocation brings its values; afterwards `team_sum` and `whole_sum` know the sums.
fn bring_sums(values: array<f32, SUMS>, at: Lane) {
    var own = values;
    for (var k = 0u; k < SUMS; k += 1u) { // unrolled
        let partial = subgroupAdd(own[k]);
        if at.lane == 0u {
            sh_sums[k * SUBGROUPS + at.lid / at.lanes] = partial;
        }
    }
    workgroupBarrier();
}

fn team_sum(k: u32, team: u32, lanes: u32) -> f32 {
    let n = (TEAM + lanes - 1u) / lanes;
    var sum = 0.0;
    for (var i = 0u; i < n; i += 1u) {
        sum += sh_sums[k * SUBGROUPS + team * n + i];
    }
    return sum;
}

fn whole_sum(k: u32, lanes: u32) -> f32 {
    let n = (WG_SIZE + lanes - 1u) / lanes;
    var sum = 0.0;
    for (var i = 0u; i < n; i += 1u) {
        sum += sh_sums[k * SUBGROUPS + i];
    }
    return sum;
}

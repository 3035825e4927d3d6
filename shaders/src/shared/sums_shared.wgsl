// Sums of SUMS values over each team of TEAM consecutive invocations, through workgroup memory. Needs WG_SIZE, a multiple of TEAM.
// The order of additions is fixed: a tree by halves.

var<workgroup> sh_sums: array<f32, SUMS * WG_SIZE>;

// Every invocation brings its values; afterwards `team_sum` and `whole_sum` know the sums.
fn bring_sums(values: array<f32, SUMS>, at: Lane) {
    var own = values;
    for (var k = 0u; k < SUMS; k += 1u) { // unrolled
        sh_sums[k * WG_SIZE + at.lid] = own[k];
    }
    workgroupBarrier();
    for (var n = TEAM; n > 1u; n = (n + 1u) / 2u) {
        if at.lid % TEAM < n / 2u {
            for (var k = 0u; k < SUMS; k += 1u) { // unrolled
                sh_sums[k * WG_SIZE + at.lid] += sh_sums[k * WG_SIZE + at.lid + (n + 1u) / 2u];
            }
        }
        workgroupBarrier();
    }
}

fn team_sum(k: u32, team: u32, lanes: u32) -> f32 {
    return sh_sums[k * WG_SIZE + team * TEAM];
}

fn whole_sum(k: u32, lanes: u32) -> f32 {
    var sum = 0.0;
    for (var team = 0u; team < WG_SIZE / TEAM; team += 1u) {
        sum += sh_sums[k * WG_SIZE + team * TEAM];
    }
    return sum;
}

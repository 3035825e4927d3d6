// The functions of matrices.wgsl without cooperative matrices: every lane holds whole matrices. For the suites of adapters that lack them.

struct Mat {
    e: array<f32, 256>,
}

alias MatA = Mat;
alias MatB = Mat;
alias MatC = Mat;

fn half_at(at: u32, row: u32, column: u32) -> f32 {
    return f32(sh_rows[at + row * ROW_STRIDE + column / 4u][column % 4u]);
}

fn load_a(at: u32) -> Mat {
    var m: Mat;
    for (var i = 0u; i < 256u; i += 1u) {
        m.e[i] = half_at(at, i / 16u, i % 16u);
    }
    return m;
}

fn load_keys(at: u32) -> Mat {
    var m: Mat;
    for (var i = 0u; i < 256u; i += 1u) {
        m.e[i] = half_at(at, i % 16u, i / 16u);
    }
    return m;
}

fn load_values(at: u32) -> Mat {
    return load_a(at);
}

fn load_scores(at: u32, stride: u32) -> Mat {
    var m: Mat;
    for (var i = 0u; i < 256u; i += 1u) {
        m.e[i] = sh_scores[at + i / 16u * stride + i % 16u / 4u][i % 4u];
    }
    return m;
}

fn store_scores(m: Mat, at: u32, stride: u32) {
    var copy = m;
    for (var i = 0u; i < 256u; i += 1u) {
        sh_scores[at + i / 16u * stride + i % 16u / 4u][i % 4u] = copy.e[i];
    }
}

fn store_partial(m: Mat, at: u32) {
    var copy = m;
    for (var i = 0u; i < 256u; i += 1u) {
        partials[at + i / 16u * (LATENT / 4u) + i % 16u / 4u][i % 4u] = copy.e[i];
    }
}

fn multiply_add(a: Mat, b: Mat, c: Mat) -> Mat {
    var left = a;
    var right = b;
    var sum = c;
    for (var i = 0u; i < 256u; i += 1u) {
        var s = sum.e[i];
        for (var k = 0u; k < 16u; k += 1u) {
            s += left.e[i / 16u * 16u + k] * right.e[k * 16u + i % 16u];
        }
        sum.e[i] = s;
    }
    return sum;
}

fn add(a: Mat, b: Mat) -> Mat {
    var sum = a;
    var other = b;
    for (var i = 0u; i < 256u; i += 1u) {
        sum.e[i] += other.e[i];
    }
    return sum;
}

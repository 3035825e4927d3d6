// 16×16 cooperative matrices of the attention kernels.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;

// Loads and stores that some subgroups do and others do not are functions: naga takes them for uniform there.
fn load_scores(at: u32, stride: u32) -> MatC {
    return coopLoadT<coop_mat16x16<f32, C>>(&sh_scores[at], stride);
}

fn store_scores(m: MatC, at: u32, stride: u32) {
    coopStoreT(m, &sh_scores[at], stride);
}

fn store_sums(m: MatC, at: u32) {
    coopStoreT(m, &sums[at], LATENT / 4u);
}

fn add(a: MatC, b: MatC) -> MatC {
    return a + b;
}

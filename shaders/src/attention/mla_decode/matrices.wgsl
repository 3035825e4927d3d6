// 16×16 cooperative matrices of attention/mla_decode: where they are loaded and stored.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;

// 16 heads × 16 values, or 16 heads × 16 probabilities.
fn load_a(at: u32) -> MatA {
    return coopLoadT<coop_mat16x16<f16, A>>(&sh_rows[at], ROW_STRIDE);
}

// 16 values × 16 slots: the rows of the slots are its columns.
fn load_keys(at: u32) -> MatB {
    return coopLoad<coop_mat16x16<f16, B>>(&sh_rows[at], ROW_STRIDE);
}

// 16 slots × 16 values.
fn load_values(at: u32) -> MatB {
    return coopLoadT<coop_mat16x16<f16, B>>(&sh_rows[at], ROW_STRIDE);
}

fn load_scores(at: u32, stride: u32) -> MatC {
    return coopLoadT<coop_mat16x16<f32, C>>(&sh_scores[at], stride);
}

fn store_scores(m: MatC, at: u32, stride: u32) {
    coopStoreT(m, &sh_scores[at], stride);
}

fn store_partial(m: MatC, at: u32) {
    coopStoreT(m, &partials[at], LATENT / 4u);
}

fn multiply_add(a: MatA, b: MatB, c: MatC) -> MatC {
    return coopMultiplyAdd(a, b, c);
}

fn add(a: MatC, b: MatC) -> MatC {
    return a + b;
}

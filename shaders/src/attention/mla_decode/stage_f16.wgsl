// Stages the rows of a step as f16 in workgroup memory, from f16 rows: 16 bytes at a time, nine loads under way at once.

struct Sixteen {
    low: vec4<f16>,
    high: vec4<f16>,
}

fn row_vectors(i: u32) -> Sixteen {
    let at = (sh_row[i / WIDTH8] & ~UNFILLED) * (2u * WIDTH8) + i % WIDTH8 * 2u;
    return Sixteen(cache[at], cache[at + 1u]);
}

fn stage_vectors(i: u32, vectors: Sixteen) {
    let at = i / WIDTH8 * ROW_STRIDE + i % WIDTH8 * 2u;
    sh_rows[at] = vectors.low;
    sh_rows[at + 1u] = vectors.high;
}

fn stage_rows(lid: u32) {
    for (var i = lid; i < ROWS * WIDTH8; i += 9u * WG_SIZE) {
        let v0 = row_vectors(i);
        let v1 = row_vectors(i + WG_SIZE);
        let v2 = row_vectors(i + 2u * WG_SIZE);
        let v3 = row_vectors(i + 3u * WG_SIZE);
        let v4 = row_vectors(i + 4u * WG_SIZE);
        let v5 = row_vectors(i + 5u * WG_SIZE);
        let v6 = row_vectors(i + 6u * WG_SIZE);
        let v7 = row_vectors(i + 7u * WG_SIZE);
        let v8 = row_vectors(i + 8u * WG_SIZE);
        stage_vectors(i, v0);
        stage_vectors(i + WG_SIZE, v1);
        stage_vectors(i + 2u * WG_SIZE, v2);
        stage_vectors(i + 3u * WG_SIZE, v3);
        stage_vectors(i + 4u * WG_SIZE, v4);
        stage_vectors(i + 5u * WG_SIZE, v5);
        stage_vectors(i + 6u * WG_SIZE, v6);
        stage_vectors(i + 7u * WG_SIZE, v7);
        stage_vectors(i + 8u * WG_SIZE, v8);
    }
}

// Pages of f16 keys into workgroup memory, by way of registers.

alias KeyWord = vec4<f16>;

const FP8: bool = false;
const WORDS: u32 = 16u * DIM;

// What one invocation carries of a page: every WG_SIZE-th vector.
struct Page {
    r0: KeyWord,
    r1: KeyWord,
    r2: KeyWord,
    r3: KeyWord,
    r4: KeyWord,
    r5: KeyWord,
    r6: KeyWord,
    r7: KeyWord,
    r8: KeyWord,
    r9: KeyWord,
    r10: KeyWord,
    r11: KeyWord,
    r12: KeyWord,
    r13: KeyWord,
    r14: KeyWord,
    r15: KeyWord,
}

fn load_page(page: u32, lid: u32) -> Page {
    let at = page * WORDS + lid;
    var p: Page;
    p.r0 = keys[at];
    if WORDS > 1u * WG_SIZE {
        p.r1 = keys[at + 1u * WG_SIZE];
    }
    if WORDS > 2u * WG_SIZE {
        p.r2 = keys[at + 2u * WG_SIZE];
        p.r3 = keys[at + 3u * WG_SIZE];
    }
    if WORDS > 4u * WG_SIZE {
        p.r4 = keys[at + 4u * WG_SIZE];
        p.r5 = keys[at + 5u * WG_SIZE];
        p.r6 = keys[at + 6u * WG_SIZE];
        p.r7 = keys[at + 7u * WG_SIZE];
    }
    if WORDS > 8u * WG_SIZE {
        p.r8 = keys[at + 8u * WG_SIZE];
        p.r9 = keys[at + 9u * WG_SIZE];
        p.r10 = keys[at + 10u * WG_SIZE];
        p.r11 = keys[at + 11u * WG_SIZE];
        p.r12 = keys[at + 12u * WG_SIZE];
        p.r13 = keys[at + 13u * WG_SIZE];
        p.r14 = keys[at + 14u * WG_SIZE];
        p.r15 = keys[at + 15u * WG_SIZE];
    }
    return p;
}

fn put(i: u32, word: KeyWord) {
    sh_rows[i / (DIM / 4u) * ROW + i % (DIM / 4u)] = word;
}

fn store_page(p: Page, lid: u32) {
    put(lid, p.r0);
    if WORDS > 1u * WG_SIZE {
        put(lid + 1u * WG_SIZE, p.r1);
    }
    if WORDS > 2u * WG_SIZE {
        put(lid + 2u * WG_SIZE, p.r2);
        put(lid + 3u * WG_SIZE, p.r3);
    }
    if WORDS > 4u * WG_SIZE {
        put(lid + 4u * WG_SIZE, p.r4);
        put(lid + 5u * WG_SIZE, p.r5);
        put(lid + 6u * WG_SIZE, p.r6);
        put(lid + 7u * WG_SIZE, p.r7);
    }
    if WORDS > 8u * WG_SIZE {
        put(lid + 8u * WG_SIZE, p.r8);
        put(lid + 9u * WG_SIZE, p.r9);
        put(lid + 10u * WG_SIZE, p.r10);
        put(lid + 11u * WG_SIZE, p.r11);
        put(lid + 12u * WG_SIZE, p.r12);
        put(lid + 13u * WG_SIZE, p.r13);
        put(lid + 14u * WG_SIZE, p.r14);
        put(lid + 15u * WG_SIZE, p.r15);
    }
}

fn key_scale(key: u32) -> f32 {
    return 1.0;
}

// Tiles of 64 own rows and 64 others for the kernels of the indexer's loss, on cooperative matrices.
//
// Items pass through workgroup memory one after the other, while the next is on its way to registers: for each head of attention the rows of both
// sides, then the same for each head of the index, then, for the gradients of keys, the queries of each head of the index again. With an item comes
// a value for each token of the tile: a logarithm of attention, or a weight. Eight subgroups multiply: four by rows, two by columns.
// Needs QK, HEADS (0 where attention has no part), HI, DI, OWN_KEYS, ROW, LOADS, LANES, SHARE, the buffer index, and `fetch_attention`, an item of
// attention.

alias MatA = coop_mat16x16<f16, A>;
alias MatB = coop_mat16x16<f16, B>;
alias MatC = coop_mat16x16<f32, C>;
// 16 values of a lane: of row lane % 16 of its subgroup's tile, vectors of four of which every ROW_LANES-th is its own.
alias Quads = array<vec4<f32>, SHARE>;

const TILE: u32 = 64u;
const WG_SIZE: u32 = 8u * LANES;
const ROW_LANES: u32 = LANES / 16u;
// Where the other rows lie behind the own ones, and vectors of four between rows of a patch of products.
const OTHERS: u32 = TILE * ROW;
const PATCH_ROW: u32 = 9u;
const PATCH: u32 = 16u * PATCH_ROW;
const ITEMS: u32 = select(HEADS + HI, HEADS + 2u * HI, OWN_KEYS);

var<workgroup> sh_halves: array<vec4<f16>, 2u * TILE * ROW>;
var<workgroup> sh_patches: array<vec4<f32>, 8u * PATCH>;
// Values of tokens, in two places.
var<workgroup> sh_values: array<vec4<f32>, 32>;
// What the columns of the tile see and their logarithms, where those are tokens.
var<workgroup> sh_words: array<vec4<u32>, 32>;
var<workgroup> sh_logs: array<vec4<f32>, 16>;
var<workgroup> sh_sums: array<vec2<f32>, 128>;

// Which tile a workgroup is at.
struct Place {
    b: u32,
    own: u32,
    other: u32,
}

struct Item {
    own: array<vec4<f32>, LOADS>,
    other: array<vec4<f32>, LOADS>,
    value: f32,
}

// A subgroup's part of the tile, and a lane's of that.
struct Part {
    subgroup: u32,
    lane: u32,
    rows: u32,
    columns: u32,
}

fn part_of(lid: u32) -> Part {
    let subgroup = lid / LANES;
    return Part(subgroup, lid % LANES, subgroup % 4u * 16u, subgroup / 4u * 32u);
}

fn index_row(keys: bool, b: u32, row: u32, j: u32, quad: u32) -> vec4<f32> {
    return index[token_at(b, row) * (INDEX_ROW / 4u) + select(j * (DI / 4u), KEY_AT / 4u, keys) + quad];
}

fn weight(b: u32, t: u32, j: u32) -> f32 {
    return index[token_at(b, t) * (INDEX_ROW / 4u) + (WEIGHTS_AT + j) / 4u][j % 4u];
}

fn fetch(n: u32, at: Place, lid: u32) -> Item {
    if n < HEADS {
        return fetch_attention(n, at, lid);
    }
    let j = (n - HEADS) % HI;
    var found: Item;
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        let place = min(lid + i * WG_SIZE, TILE * (DI / 4u) - 1u);
        found.own[i] = index_row(OWN_KEYS, at.b, at.own + place / (DI / 4u), j, place % (DI / 4u));
        found.other[i] = index_row(!OWN_KEYS, at.b, at.other + place / (DI / 4u), j, place % (DI / 4u));
    }
    found.value = weight(at.b, select(at.own, at.other, OWN_KEYS) + lid % TILE, j);
    return found;
}

fn put(n: u32, place: u32, fetched: Item, lid: u32) {
    var item = fetched;
    let quads = select(DI / 4u, QK / 4u, n < HEADS);
    for (var i = 0u; i < LOADS; i += 1u) { // unrolled
        let at = lid + i * WG_SIZE;
        if at < TILE * quads {
            // Gradients take the place of own rows when those are done with.
            if n < HEADS + HI {
                sh_halves[at / quads * ROW + at % quads] = vec4<f16>(item.own[i]);
            }
            sh_halves[OTHERS + at / quads * ROW + at % quads] = vec4<f16>(item.other[i]);
        }
    }
    if lid < TILE {
        sh_values[place * 16u + lid / 4u][lid % 4u] = item.value;
    }
}

// Puts the item that was fetched, which is item `n` of the tile or, where that has no more, the first of the next, and fetches the one after it.
fn advance(item: ptr<function, Item>, n: u32, place: u32, at: Place, lid: u32) {
    put(n % ITEMS, place, *item, lid);
    let later = n + 1u;
    let step = select(0u, TILE, later >= ITEMS);
    *item = fetch(later % ITEMS, Place(at.b, at.own, at.other + step), lid);
}

// Leaves the products of the rows of the item in the patches: 16 rows and 32 columns for each subgroup.
fn multiply(tiles: u32, part: Part) {
    var left = MatC();
    var right = MatC();
    for (var d = 0u; d < tiles; d += 1u) {
        let own = coopLoadT<MatA>(&sh_halves[part.rows * ROW + 4u * d], ROW);
        let first = coopLoad<MatB>(&sh_halves[OTHERS + part.columns * ROW + 4u * d], ROW);
        left = coopMultiplyAdd(own, first, left);
        let second = coopLoad<MatB>(&sh_halves[OTHERS + (part.columns + 16u) * ROW + 4u * d], ROW);
        right = coopMultiplyAdd(own, second, right);
    }
    coopStoreT(left, &sh_patches[part.subgroup * PATCH], PATCH_ROW);
    coopStoreT(right, &sh_patches[part.subgroup * PATCH + 4u], PATCH_ROW);
}

// Vector j of a lane: where it stands among the vectors of a row of the patch.
fn four_of(part: Part, j: u32) -> u32 {
    return j * ROW_LANES + part.lane / 16u;
}

fn product(part: Part, j: u32) -> vec4<f32> {
    return sh_patches[part.subgroup * PATCH + part.lane % 16u * PATCH_ROW + four_of(part, j)];
}

// The values of tokens of vector j: those of its columns, or that of its row.
fn values_of(part: Part, place: u32, j: u32) -> vec4<f32> {
    if OWN_KEYS {
        return sh_values[place * 16u + part.columns / 4u + four_of(part, j)];
    }
    let row = part.rows + part.lane % 16u;
    return vec4(sh_values[place * 16u + row / 4u][row % 4u]);
}

// What vector j sees.
fn seen_of(part: Part, word: u32, own: u32, j: u32) -> vec4<bool> {
    var bits = vec4(word >> (4u * four_of(part, j))) >> vec4(0u, 1u, 2u, 3u);
    if OWN_KEYS {
        let row = part.rows + part.lane % 16u;
        bits = sh_words[row / 32u * 16u + part.columns / 4u + four_of(part, j)] >> vec4(row % 32u);
    }
    return (bits & vec4(1u)) == vec4(1u);
}

// One head of the index: adds its weighted products to the scores, and returns the signs of this lane's, a bit for each.
fn add_scores(scores: ptr<function, Quads>, part: Part, place: u32) -> u32 {
    var signs = 0u;
    for (var j = 0u; j < SHARE; j += 1u) { // unrolled
        let z = product(part, j);
        (*scores)[j] += values_of(part, place, j) * max(z, vec4(0.0));
        let bits = select(vec4(0u), vec4(1u, 2u, 4u, 8u), z > vec4(0.0));
        signs |= (bits.x | bits.y | bits.z | bits.w) << (4u * j);
    }
    return signs;
}

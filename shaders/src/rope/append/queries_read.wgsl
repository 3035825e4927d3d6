@group(0) @binding(QUERIES) var<storage, read> queries: array<vec4<f32>>; // (T, q_stride) f32

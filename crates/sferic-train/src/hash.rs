//! Small stable hashes: the held-out split and the shuffles must not change with a compiler or a library version.

/// Returns the 64-bit FNV-1a hash of `bytes`, finished with [`mix`].
///
/// Source: Fowler, Noll, Vo; constants of the 64-bit variant.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    let hash =
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    mix(hash)
}

/// Returns a bijective scramble of `x` in which every input bit reaches every output bit.
///
/// Source: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Returns the image of `index` under a pseudo-random permutation of `0..n` chosen by `key`.
///
/// A four-round Feistel network on the next even power of two, walked until it lands inside: constant memory, random access.
/// `index` must be below `n`.
pub(crate) fn permute(index: u64, n: u64, key: u64) -> u64 {
    debug_assert!(index < n, "index {index} is outside 0..{n}");
    let half_bits = (64 - n.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half_bits) - 1;
    let mut x = index;
    loop {
        let (mut left, mut right) = (x >> half_bits, x & mask);
        for round in 0..4 {
            let scrambled = mix(key ^ mix(right ^ (round << 56))) & mask;
            (left, right) = (right, left ^ scrambled);
        }
        x = (left << half_bits) | right;
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permute_is_a_bijection_that_depends_on_the_key() {
        for n in [1, 2, 3, 17, 1000, 1024] {
            let image = |key| (0..n).map(|index| permute(index, n, key)).collect::<Vec<_>>();
            let mut sorted = image(7);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>(), "n = {n}");
            if n > 16 {
                assert_ne!(image(7), image(8), "n = {n}");
                assert_ne!(image(7), sorted, "n = {n}");
            }
        }
    }

    #[test]
    fn fnv1a_is_stable() {
        // The plain FNV-1a value of "a" from the authors' test vectors, then the mix.
        assert_eq!(fnv1a(b"a"), mix(0xaf63_dc4c_8601_ec8c));
    }
}

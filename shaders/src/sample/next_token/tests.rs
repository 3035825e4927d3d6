use super::{IN_PROMPT, NextToken, Settings, Shape, adjust, choose, uniform};
use crate::kernel::Capabilities;
use crate::tests::assert_close;

const PLAIN: Settings = Settings { temperature: 1.0, ..Settings::GREEDY };

/// Logarithms of 1, 2, 4, 1: a distribution of eighths.
fn eighths() -> Vec<f64> {
    [1.0f64, 2.0, 4.0, 1.0].iter().map(|v| v.ln()).collect()
}

#[test]
fn penalties_and_bias_by_hand() {
    let settings = Settings { repetition_penalty: 2.0, presence_penalty: 0.25, frequency_penalty: 0.5, ..PLAIN };
    let counts = [0, IN_PROMPT, 2, IN_PROMPT | 1];
    let found = adjust(&[3.0, 3.0, -1.0, f64::NAN], &counts, &[0.0, 1.0, 0.0, 0.0], &settings);
    assert_close(&found[..3], &[3.0, 2.5, -3.25], 1e-15);
    assert_eq!(found[3], f64::NEG_INFINITY);
}

#[test]
fn the_draw_inverts_the_cumulative_distribution() {
    for (u, expected) in [(0.0, 0), (0.124, 0), (0.126, 1), (0.374, 1), (0.376, 2), (0.874, 2), (0.876, 3), (0.999, 3)] {
        assert_eq!(choose(&eighths(), &PLAIN, u), Some(expected), "{u}");
    }
    // At half the temperature the weights are squared: 1, 4, 16, 1.
    let sharp = Settings { temperature: 0.5, ..PLAIN };
    for (u, expected) in [(0.045, 0), (0.046, 1), (0.227, 1), (0.228, 2), (0.954, 2), (0.955, 3)] {
        assert_eq!(choose(&eighths(), &sharp, u), Some(expected), "{u}");
    }
}

#[test]
fn filters_by_hand() {
    let at_ends = |settings: Settings| [0.0, 0.999_999].map(|u| choose(&eighths(), &settings, u));
    assert_eq!(at_ends(Settings { top_k: 1, ..PLAIN }), [Some(2); 2]);
    // Of the equal tokens 0 and 3 the lower one is the third.
    assert_eq!(at_ends(Settings { top_k: 3, ..PLAIN }), [Some(0), Some(2)]);
    assert_eq!(at_ends(Settings { top_p: 0.5, ..PLAIN }), [Some(2); 2]);
    assert_eq!(at_ends(Settings { top_p: 0.51, ..PLAIN }), [Some(1), Some(2)]);
    // After top-k the mass is 6 eighths, of which 4 are two thirds.
    assert_eq!(at_ends(Settings { top_k: 2, top_p: 0.66, ..PLAIN }), [Some(2); 2]);
    assert_eq!(at_ends(Settings { min_p: 0.49, ..PLAIN }), [Some(1), Some(2)]);
    assert_eq!(at_ends(Settings { min_p: 0.51, ..PLAIN }), [Some(2); 2]);
}

#[test]
fn greedy_takes_the_lowest_of_equals_and_nothing_from_nothing() {
    assert_eq!(choose(&[1.0, 2.0, 2.0], &Settings::GREEDY, 0.9), Some(1));
    assert_eq!(choose(&[f64::NEG_INFINITY; 3], &PLAIN, 0.5), None);
}

/// The numbers that the engine's sampler is held to.
#[test]
fn the_stream_of_a_seed_is_the_engines() {
    let draws: Vec<u64> = (0..3).map(|n| (uniform(42, n) * 2f64.powi(53)) as u64).collect();
    assert_eq!(draws, [3_092_098_744_885_774, 8_608_601_199_334_984, 4_380_647_180_739_872]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Capabilities::base();
    let shape = Shape { t: 1, v: 100, stride: 100, offset: 0, history: 4 };
    let refused = |shape: Shape, settings: Settings, what: &str| {
        let message =
            NextToken { workgroup: 256, adjusted: false }.launch(shape, settings, &device).map_err(|error| error.to_string());
        assert!(matches!(&message, Err(text) if text.contains(what)), "{what}: {message:?}");
    };
    refused(Shape { t: 0, ..shape }, PLAIN, "rows");
    refused(Shape { v: 0, ..shape }, PLAIN, "vocabulary");
    refused(Shape { v: 300_000, stride: 300_000, ..shape }, PLAIN, "vocabulary");
    refused(Shape { stride: 96, ..shape }, PLAIN, "stride");
    refused(Shape { stride: 102, ..shape }, PLAIN, "stride");
    refused(Shape { offset: 2, ..shape }, PLAIN, "offset");
    refused(shape, Settings { temperature: -1.0, ..PLAIN }, "temperature");
    refused(shape, Settings { temperature: f32::NAN, ..PLAIN }, "temperature");
    refused(shape, Settings { top_p: 0.0, ..PLAIN }, "top_p");
    refused(shape, Settings { min_p: 1.5, ..PLAIN }, "min_p");
    assert!(NextToken { workgroup: 1024, adjusted: false }.launch(shape, PLAIN, &device).is_err());
}

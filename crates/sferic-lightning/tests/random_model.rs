//! A model of random weights over random caches computes numbers, so that its times are those of a model; and what is compiled for it beforehand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use sferic_lightning::architecture::Architecture;
use sferic_lightning::{
    CacheFormats, Decoder, Device, Drawing, Draws, Formats, Logits, Model, ModelWeights, Request, Sampling, Sequence, Settings,
    WeightFormat, programs,
};

fn device() -> Option<Device> {
    match pollster::block_on(Device::open(&Default::default())) {
        Ok(device) => Some(device),
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// A mixture of three layers that selects 64 positions.
fn architecture() -> Architecture {
    let mut a = Architecture::v2_lite_with_indexer();
    a.layers.truncate(3);
    (a.vocab, a.d_model, a.d_feed_forward) = (1000, 256, 320);
    if let Some(experts) = &mut a.experts {
        (experts.n_routed, experts.width) = (8, 96);
    }
    if let Some(indexer) = &mut a.indexer {
        indexer.top_k = 64;
    }
    a
}

fn settings(caches: CacheFormats) -> Settings {
    Settings { caches, hadamard: caches == CacheFormats::FP8, context: 1024, chunk: 16, cached_tokens: 1024 }
}

#[test]
fn nothing_is_left_to_compile_for_prompts_in_whole_chunks_and_decode() {
    let Some(device) = device() else { return };
    let (a, settings, formats) = (architecture(), settings(CacheFormats::F16), Formats::new(WeightFormat::Q8));
    let programs = programs(&device, &a, formats, &settings).unwrap();
    pollster::block_on(device.pipelines(&programs)).unwrap();
    let before = device.n_compiled();
    assert_eq!(before, programs.len());
    let weights = ModelWeights::random(&device, &a, formats).unwrap();
    let model = Model::new(device.clone(), a, weights, settings).unwrap();
    let mut sequence = model.sequence();
    pollster::block_on(async {
        let prompt: Vec<u32> = (0..96).collect();
        for chunk in prompt.chunks(16) {
            sequence.advance(chunk, Request { logits: Logits::Last, ..Request::default() }).await.unwrap();
        }
        Decoder::new(&mut sequence, Sampling::GREEDY, 400).await.unwrap().draw(3, 400, 0, 0).await.unwrap();
    });
    assert_eq!(device.n_compiled(), before);
}

#[test]
fn random_weights_give_finite_logits_and_selections_of_their_own() {
    let Some(device) = device() else { return };
    let a = architecture();
    for (format, caches) in [(WeightFormat::Bf16, CacheFormats::F16), (WeightFormat::Q4, CacheFormats::FP8)] {
        let weights = ModelWeights::random(&device, &a, Formats::new(format)).unwrap();
        let model = Model::new(device.clone(), a.clone(), weights, settings(caches)).unwrap();
        let mut sequence = model.sequence();
        sequence.pretend(700, 1).unwrap();
        let request = Request { probe: true, ..Request::default() };
        let output = pollster::block_on(sequence.advance(&[7], request)).unwrap();
        assert!(output.logits.iter().all(|logit| logit.is_finite()), "{caches:?}");
        for selected in output.selected {
            let selected = selected.unwrap();
            assert!(selected.windows(2).all(|pair| pair[0] < pair[1]) && selected[0] >= 0, "{caches:?}: {selected:?}");
            // Equal scores, NaN among them, would select the first positions.
            assert!(*selected.last().unwrap() > 300, "{caches:?}: {selected:?}");
        }
        let drawn = pollster::block_on(async {
            let mut decoder = Decoder::new(&mut sequence, Sampling::GREEDY, 5).await?;
            decoder.draw(3, 5, 0, 0).await
        });
        let drawn = drawn.unwrap();
        assert_eq!((drawn.tokens.len(), drawn.has_bad_logits), (5, false));
        assert_eq!(sequence.len(), 706);
    }
}

#[test]
fn a_reply_may_be_asked_for_again_or_take_another_turn() {
    let Some(device) = device() else { return };
    let a = architecture();
    let weights = ModelWeights::random(&device, &a, Formats::new(WeightFormat::Bf16)).unwrap();
    let model = Model::new(device, a, weights, settings(CacheFormats::F16)).unwrap();
    let draw = |draws: &mut Draws, sequence: &mut Sequence, tokens: &[u32], go_on: bool| {
        pollster::block_on(draws.next(sequence, tokens, go_on)).unwrap()
    };
    let drawing = Drawing { settings: Sampling::GREEDY, seed: 0, n_draws: 0, adjustments: None, dense: false, experts: false };
    let new = || (pollster::block_on(Draws::new(&model, drawing.clone())).unwrap(), model.sequence());
    let alone =
        |tokens: &[u32], (mut draws, mut sequence): (Draws, Sequence)| draw(&mut draws, &mut sequence, tokens, false).token;
    let (first, other) = ([5, 6, 7], [5, 6, 7, 9]);
    let expected = [alone(&first, new()), alone(&other, new())];
    let (mut draws, mut sequence) = new();
    assert!(draw(&mut draws, &mut sequence, &[], true).has_bad_logits, "nothing can be drawn from nothing");
    for go_on in [false, true, false] {
        // With a step begun, then with another token than the one that was drawn, then back.
        assert_eq!(draw(&mut draws, &mut sequence, &first, go_on).token, expected[0]);
        assert_eq!(draw(&mut draws, &mut sequence, &first, go_on).token, expected[0]);
        assert_eq!(draw(&mut draws, &mut sequence, &other, go_on).token, expected[1]);
        sequence.truncate(3);
    }
}

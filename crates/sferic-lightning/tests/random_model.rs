//! A model of random weights over random caches computes numbers, so that its times are those of a model.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use sferic_lightning::architecture::Architecture;
use sferic_lightning::{CacheFormats, Decoder, Device, Formats, Model, ModelWeights, Request, Sampling, Settings, WeightFormat};

#[test]
fn random_weights_give_finite_logits_and_selections_of_their_own() {
    let device = match pollster::block_on(Device::open(&Default::default())) {
        Ok(device) => device,
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    let mut a = Architecture::v2_lite_with_indexer();
    a.layers.truncate(3);
    (a.vocab, a.d_model, a.d_feed_forward) = (1000, 256, 320);
    if let Some(experts) = &mut a.experts {
        (experts.n_routed, experts.width) = (8, 96);
    }
    if let Some(indexer) = &mut a.indexer {
        indexer.top_k = 64;
    }
    for (format, caches) in [(WeightFormat::Bf16, CacheFormats::F16), (WeightFormat::Q4, CacheFormats::FP8)] {
        let weights = ModelWeights::random(&device, &a, Formats::new(format)).unwrap();
        let settings = Settings { caches, hadamard: caches == CacheFormats::FP8, context: 1024, chunk: 16, cached_tokens: 1024 };
        let model = Model::new(device.clone(), a.clone(), weights, settings).unwrap();
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

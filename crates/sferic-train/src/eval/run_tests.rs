#![allow(clippy::unwrap_used, clippy::panic)]

use burn::tensor::Device;
use pollster::block_on;
use sferic_model::Config;
use sferic_tasks::{Generator, Mode, Setting};

use super::super::ask::{Manner, ask, ask_together};
use super::*;
use crate::corpus::Part;
use crate::dataset::SourceManifest;
use crate::encoder::Encoder;
use crate::export::export;
use crate::init::RandomWeights;
use crate::test_model::toy_config;
use crate::token_set::Tokens;
use crate::tokenizer::{Special, save_tokenizer, train_tokenizer};

const CONTEXT: usize = 512;

const CONFIG: &str = r#"
[likelihood]
max_tokens = 600
edges = [16, 64, 200]
[recall]
lengths = [100]
n_texts = 3
n_queries = 8
[grid]
lengths = [300, 400]
n_depths = 2
n_tasks = 1
max_tokens = 4
filler = ["letters"]
[tasks]
domains = ["math", "agent", "document"]
generators = ["addition", "search", "needle"]
n_tasks = 1
max_tokens = 4
document_length = 256
"#;

/// A model folder with random weights and the tokens of two sources: letters of one paragraph each, and short notes.
struct Toy {
    folder: tempfile::TempDir,
    heldout: TokenSet,
}

impl Toy {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let letter = |n: usize| format!("The boat of number {n} left the harbour in the morning. ").repeat(12);
        let note = |n: usize| format!("Note {n}: buy bread.");
        let texts: Vec<String> = (0..8).map(letter).chain((0..8).map(note)).collect();
        let tokenizer = train_tokenizer(texts.iter().map(String::as_str), 320).unwrap();
        let encoder = Encoder::new(tokenizer.clone()).unwrap();
        let tokenizer_folder = folder.path().join("tokenizer");
        save_tokenizer(&tokenizer, CONTEXT, &tokenizer_folder).unwrap();
        let mut json = toy_config(320);
        json["max_position_embeddings"] = CONTEXT.into();
        let config = Config::from_json(&json).unwrap();
        let model = Model::load(&config, &mut RandomWeights::new(&config, 0.3, 5), &Device::flex()).unwrap();
        export(&model, &tokenizer_folder.join("tokenizer.json"), &folder.path().join("model")).unwrap();
        let mut tokens = Vec::new();
        let mut starts = Vec::new();
        let mut sources = Vec::new();
        for (name, range) in [("letters", 0..8), ("notes", 8..16)] {
            let offset = tokens.len();
            for text in &texts[range] {
                let parts = [Part::Begin, Part::Text(text.into()), Part::End];
                starts.push(tokens.len());
                encoder.encode(&parts, &mut tokens).unwrap();
            }
            sources.push(SourceManifest {
                name: name.to_owned(),
                offset,
                n_tokens: tokens.len() - offset,
                ..SourceManifest::default()
            });
        }
        let mut short = Tokens::of_vocabulary(320);
        short.extend(&tokens);
        Self { folder, heldout: TokenSet::new(short, starts, sources, 16) }
    }

    fn evaluation<'a>(&'a self, output: &str, config: &'a EvalConfig) -> Evaluation<'a> {
        Evaluation {
            name: "toy".to_owned(),
            model: self.folder.path().join("model"),
            output: self.folder.path().join(output),
            seed: 11,
            heldout: &self.heldout,
            config,
            device: DeviceChoice::Cpu,
            stop_after: None,
        }
    }
}

fn config() -> EvalConfig {
    toml::from_str(CONFIG).unwrap()
}

#[test]
fn an_evaluation_measures_every_part_and_goes_on_where_it_stopped() {
    let (toy, config) = (Toy::new(), config());
    let mut parts = Vec::new();
    let evaluation = toy.evaluation("whole", &config);
    let whole = block_on(evaluate_model(&evaluation, &mut |event| {
        if let Event::Progress { part, done, total } = event {
            parts.push(((*part).to_owned(), *done, *total));
        }
    }))
    .unwrap();
    assert!(whole.complete && whole.not_asked.is_empty(), "{:?}", whole.not_asked);
    // Two sources with two kinds of attention; notes are too short for the later stretches.
    let stretches: Vec<(&str, usize)> = whole.likelihood.iter().map(|found| (found.source.as_str(), found.end)).collect();
    assert_eq!(stretches.iter().filter(|(source, _)| *source == "letters").count(), 6);
    assert!(stretches.iter().all(|(source, end)| *source == "letters" || *end < 200), "{stretches:?}");
    // Six tokens of two hundred are not all of them.
    let gap = whole.loss_gap(|found| found.start >= 16).unwrap();
    assert!(gap.abs() > 1e-4, "{gap}");
    // Up to the sixth token everything is selected.
    assert_eq!((whole.recall.len(), whole.recall[0].n_texts, whole.recall[0].layers.len()), (1, 3, 2));
    assert_eq!(whole.recall[0].layers[0].at.iter().map(|at| at.k).collect::<Vec<_>>(), [1, 3, 6]);
    for generator in grid::GENERATORS {
        for attention in [Attention::Dense, Attention::Sparse] {
            assert_eq!(whole.found(|score| score.generator == generator && score.attention == attention).n, 4, "{generator}");
        }
    }
    let n_cells = config.tasks.cells().len();
    assert_eq!(whole.accuracy(|score| score.mode == Mode::Thinking && score.attention == Attention::Sparse).n, n_cells);
    assert_eq!(whole.accuracy(|_| true).n, 4 * n_cells);
    assert_eq!(parts.last(), Some(&("tasks".to_owned(), 4 * n_cells, 4 * n_cells)));
    let page = std::fs::read_to_string(evaluation.output.join("report.md")).unwrap();
    // A file cut off in the middle of a line is what an interruption leaves.
    let records = evaluation.output.join("records.jsonl");
    let text = std::fs::read_to_string(&records).unwrap();
    std::fs::write(&records, &text[..text.len() * 2 / 3]).unwrap();
    let mut n_measured = 0;
    let resumed = block_on(evaluate_model(&evaluation, &mut |event| {
        n_measured += usize::from(matches!(event, Event::Measured(_)));
    }))
    .unwrap();
    // JSON may take the last bit of a float.
    assert_eq!((&resumed.grid, &resumed.tasks, resumed.complete), (&whole.grid, &whole.tasks, true));
    assert_eq!(std::fs::read_to_string(evaluation.output.join("report.md")).unwrap(), page);
    let n_records = text.lines().count();
    assert!((1..n_records / 2).contains(&n_measured), "{n_measured} of {n_records}");
    assert_eq!(std::fs::read_to_string(&records).unwrap(), text);
    assert_eq!(Results::open(&evaluation.output.join("results.json")).unwrap().tasks, whole.tasks);
    for name in ["report.md", "likelihood.svg", "recall.svg", "needle.svg", "pairs.svg", "tasks.svg"] {
        assert!(evaluation.output.join(name).exists(), "{name}");
    }
}

#[test]
fn time_that_has_run_out_leaves_an_honest_report() {
    let (toy, config) = (Toy::new(), config());
    let evaluation = Evaluation { stop_after: Some(Duration::ZERO), ..toy.evaluation("none", &config) };
    let results = block_on(evaluate_model(&evaluation, &mut |_| ())).unwrap();
    assert!(!results.complete && results.likelihood.is_empty() && results.tasks.is_empty());
    let page = std::fs::read_to_string(evaluation.output.join("report.md")).unwrap();
    assert!(page.contains("interrupted"), "{page}");
    assert!(!evaluation.output.join("tasks.svg").exists());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let toy = Toy::new();
    let refused =
        |config: &EvalConfig| block_on(evaluate_model(&toy.evaluation("bad", config), &mut |_| ())).unwrap_err().to_string();
    let mut long = config();
    long.grid.lengths = vec![CONTEXT + 1];
    let error = refused(&long);
    assert!(error.contains("eval.grid.lengths") && error.contains("512") && error.contains("513"), "{error}");
    let mut other = config();
    other.likelihood.max_tokens = 0;
    other.recall.lengths.clear();
    other.grid.filler = vec!["books".to_owned()];
    let error = refused(&other);
    assert!(error.contains("eval.grid.filler") && error.contains("letters, notes") && error.contains("books"), "{error}");
}

#[test]
fn texts_of_recall_are_long_and_come_from_every_source() {
    let toy = Toy::new();
    let texts = long_texts(&toy.heldout, 8, 5, 1);
    assert!(texts.len() == 5 && texts.iter().all(|text| text.len() == 8 && text[0] == Special::Bos as u32));
    let is_letter = |text: &Vec<u32>| {
        let source = &toy.heldout.sources()[0];
        toy.heldout.ids(source.offset..source.offset + source.n_tokens).windows(8).any(|window| window == text)
    };
    assert_eq!(texts.iter().map(is_letter).collect::<Vec<_>>(), [true, false, true, false, true]);
    assert!(texts[0] != texts[2] && texts[2] != texts[4]);
    assert_ne!(texts, long_texts(&toy.heldout, 8, 5, 2));
    assert_eq!(own_sizes(512), [128, 256, 512]);
    assert_eq!(own_sizes(2), [1, 2]);
}

/// The devices that there are: the CPU, and a GPU.
fn devices() -> Vec<DeviceChoice> {
    let gpu = DeviceChoice::Gpu(None);
    match block_on(resolve_device(&gpu)) {
        Ok(_) => vec![DeviceChoice::Cpu, gpu],
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped on a GPU: {error}");
            vec![DeviceChoice::Cpu]
        }
    }
}

/// Replies that are computed together are those of conversations, up to the last letter.
#[test]
fn questions_that_are_asked_together_are_answered_as_alone() {
    let toy = Toy::new();
    let named = |name: &str, seed, setting: &Setting| {
        let generator = Generator::named(name).unwrap();
        generator.task(generator.n_levels, seed, setting).unwrap()
    };
    let long = Setting::characters(sferic_tasks::PlainFiller, 4000);
    let mut tasks: Vec<Task> = (0..6).map(|seed| named("addition", seed, &Setting::default())).collect();
    tasks.insert(2, named("needle", 1, &long));
    tasks.push(named("comparison", 3, &Setting::default()));
    // One that an environment plays; what is said of its tools would not fit.
    tasks.push(Task { tools: Vec::new(), ..named("search", 2, &Setting::default()) });
    for device in devices() {
        let precise = (sferic_engine::WeightPrecision::F32, sferic_engine::CachePrecision::F32);
        let options = EngineOptions { device: device.clone(), weights: precise.0, cache: precise.1, ..EngineOptions::default() };
        let engine = block_on(Engine::open(toy.folder.path().join("model"), options)).unwrap();
        assert_eq!(engine.runs_on_kernels(), device != DeviceChoice::Cpu);
        let manner = |mode| Manner { mode, attention: Attention::Sparse, place: None, max_tokens: 12 };
        let of_task = |task| [Mode::Direct, Mode::Thinking].map(|mode| (task, manner(mode)));
        let questions: Vec<_> = tasks.iter().flat_map(of_task).collect();
        let together = block_on(ask_together(&engine, &questions)).unwrap();
        assert_eq!(together.len(), questions.len());
        for ((task, manner), reply) in questions.into_iter().zip(&together) {
            assert_eq!(*reply, block_on(ask(&engine, task, manner)).unwrap(), "{device:?}");
            assert_eq!(reply.stop == "too_long", task.name == "needle", "{reply:?}");
        }
        assert!(together.iter().any(|reply| reply.n_tokens > 1 && !reply.reply.is_empty()), "{together:?}");
    }
}

/// Where many are asked at a time, every reply is kept in its place, what was asked before is not asked again, and time that has run out is heeded.
#[test]
fn evaluations_on_every_device_ask_the_same_in_one_order() {
    let (toy, mut config) = (Toy::new(), config());
    (config.likelihood.max_tokens, config.recall.lengths) = (0, Vec::new());
    let mut orders = Vec::new();
    for device in devices() {
        let name = format!("{device}");
        let evaluation = Evaluation { device, ..toy.evaluation(&name, &config) };
        let none = Evaluation { stop_after: Some(Duration::ZERO), ..evaluation.clone() };
        assert!(!block_on(evaluate_model(&none, &mut |_| ())).unwrap().complete);
        let whole = block_on(evaluate_model(&evaluation, &mut |_| ())).unwrap();
        assert_eq!(whole.accuracy(|_| true).n, 4 * config.tasks.cells().len(), "{name}");
        let records = evaluation.output.join("records.jsonl");
        let text = std::fs::read_to_string(&records).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let keys = |line: &&str| serde_json::from_str::<Record>(line).unwrap().key();
        orders.push(lines.iter().map(keys).collect::<Vec<_>>());
        std::fs::write(&records, lines[..lines.len() - 9].join("\n") + "\n").unwrap();
        let mut n_measured = 0;
        let count = &mut |event: &Event<'_>| n_measured += usize::from(matches!(event, Event::Measured(_)));
        assert!(block_on(evaluate_model(&evaluation, count)).unwrap().complete);
        assert_eq!(n_measured, 9, "{name}");
        assert_eq!(std::fs::read_to_string(&records).unwrap(), text, "{name}");
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]), "{orders:?}");
}

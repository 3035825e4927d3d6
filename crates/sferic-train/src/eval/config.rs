//! What is evaluated: the table `[eval]` of a run's file.

use serde::{Deserialize, Serialize};
use sferic_tasks::{Cell, Domain, Generator, Mode};

use crate::TrainError;

/// Whether the indexer's selection limits attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// Every past token is attended to.
    Dense,
    /// The selected ones are; a model without an indexer is not asked.
    Sparse,
}

impl Attention {
    /// Returns the word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
        }
    }
}

/// All settings. A part whose lists are empty, or whose count is 0, is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Kinds of attention that are compared.
    pub attention: Vec<Attention>,
    /// Likelihood of held-out documents.
    pub likelihood: LikelihoodConfig,
    /// What the indexer's selections hold of attention.
    pub recall: RecallConfig,
    /// Questions about long documents, by length and depth.
    pub grid: GridConfig,
    /// Verifiable tasks.
    pub tasks: TaskConfig,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            attention: vec![Attention::Dense, Attention::Sparse],
            likelihood: LikelihoodConfig::default(),
            recall: RecallConfig::default(),
            grid: GridConfig::default(),
            tasks: TaskConfig::default(),
        }
    }
}

/// Likelihood of held-out documents of every source. A document is read from its beginning, in a context of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LikelihoodConfig {
    /// Tokens for each source; whole documents are drawn until they are reached.
    pub max_tokens: usize,
    /// Positions that divide a document, ascending; what lies behind the last is not read.
    pub edges: Vec<usize>,
}

impl Default for LikelihoodConfig {
    fn default() -> Self {
        Self { max_tokens: 65_536, edges: vec![1024, 4096, 16_384] }
    }
}

/// Recall of attention on held-out text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecallConfig {
    /// Tokens of the texts.
    pub lengths: Vec<usize>,
    /// Texts of each length.
    pub n_texts: usize,
    /// Tokens that are looked at in each text.
    pub n_queries: usize,
    /// Sizes of the selection, ascending; the model's own, its half and its quarter when empty.
    pub ks: Vec<usize>,
}

impl Default for RecallConfig {
    fn default() -> Self {
        Self { lengths: vec![2048, 8192, 16_384], n_texts: 4, n_queries: 64, ks: Vec::new() }
    }
}

/// Questions about long documents.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GridConfig {
    /// Generators of the domain `document` whose tasks have one place that answers: `needle` and `pairs`.
    pub generators: Vec<String>,
    /// Tokens of prompt and reply together; the document takes up what the question leaves.
    pub lengths: Vec<usize>,
    /// Parts into which documents are divided by depth.
    pub n_depths: usize,
    /// Tasks for each length and depth.
    pub n_tasks: usize,
    /// Whether the model thinks first.
    pub mode: Mode,
    /// Tokens of a reply.
    pub max_tokens: usize,
    /// Sources whose held-out documents fill the documents; simple sentences when empty.
    pub filler: Vec<String>,
}

impl Default for GridConfig {
    fn default() -> Self {
        Self {
            generators: vec!["needle".to_owned(), "pairs".to_owned()],
            lengths: vec![1024, 2048, 4096, 8192, 16_384],
            n_depths: 5,
            n_tasks: 8,
            mode: Mode::Direct,
            max_tokens: 96,
            filler: Vec::new(),
        }
    }
}

/// Verifiable tasks of the test split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// Domains that are asked.
    pub domains: Vec<Domain>,
    /// Generators that are asked, of these domains; all when empty.
    pub generators: Vec<String>,
    /// Tasks for each level of each generator.
    pub n_tasks: usize,
    /// Whether the model thinks first.
    pub modes: Vec<Mode>,
    /// Tokens of a turn, thoughts included.
    pub max_tokens: usize,
    /// Tokens of the longest documents.
    pub document_length: usize,
    /// Sources whose held-out documents fill the documents; simple sentences when empty.
    pub filler: Vec<String>,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            domains: Domain::ALL.to_vec(),
            generators: Vec::new(),
            n_tasks: 8,
            modes: vec![Mode::Direct, Mode::Thinking],
            max_tokens: 384,
            document_length: 2048,
            filler: Vec::new(),
        }
    }
}

impl EvalConfig {
    /// Returns the settings without the lengths that a model of this context cannot hold.
    #[must_use]
    pub fn fitted(&self, context: usize) -> Self {
        let mut fitted = self.clone();
        for lengths in [&mut fitted.likelihood.edges, &mut fitted.recall.lengths, &mut fitted.grid.lengths] {
            lengths.retain(|&length| length <= context);
        }
        fitted
    }

    /// Checks every value, before anything is loaded.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the key, [`TrainError::Tasks`] for a generator that does not exist.
    pub fn check(&self) -> Result<(), TrainError> {
        let counts = [
            ("eval.attention", self.attention.len()),
            ("eval.recall.n_queries", self.recall.n_queries),
            ("eval.grid.n_depths", self.grid.n_depths),
            ("eval.grid.max_tokens", self.grid.max_tokens),
            ("eval.tasks.max_tokens", self.tasks.max_tokens),
        ];
        for (key, value) in counts {
            if value == 0 {
                return Err(TrainError::config(key, "at least 1", "0"));
            }
        }
        let lists = [
            ("eval.likelihood.edges", &self.likelihood.edges, 2),
            ("eval.recall.lengths", &self.recall.lengths, 2),
            ("eval.recall.ks", &self.recall.ks, 1),
            ("eval.grid.lengths", &self.grid.lengths, 256 + self.grid.max_tokens),
        ];
        for (key, list, least) in lists {
            if list.first().is_some_and(|&first| first < least) || !list.is_sorted_by(|a, b| a < b) {
                return Err(TrainError::config(key, format!("ascending numbers from {least} on"), format!("{list:?}")));
            }
        }
        for name in &self.grid.generators {
            if !super::grid::GENERATORS.contains(&name.as_str()) {
                let expected = format!("generators among {}", super::grid::GENERATORS.join(", "));
                return Err(TrainError::config("eval.grid.generators", expected, name.as_str()));
            }
        }
        if self.tasks.document_length < 256 {
            let found = self.tasks.document_length.to_string();
            return Err(TrainError::config("eval.tasks.document_length", "at least 256", found));
        }
        for name in &self.tasks.generators {
            let generator = Generator::named(name)?;
            if !self.tasks.domains.contains(&generator.domain) {
                let expected = format!("generators of eval.tasks.domains, not of {}", generator.domain);
                return Err(TrainError::config("eval.tasks.generators", expected, name.as_str()));
            }
        }
        Ok(())
    }
}

impl TaskConfig {
    /// Returns the levels of generators that are asked.
    pub fn cells(&self) -> Vec<Cell> {
        let is_asked = |cell: &Cell| {
            self.domains.contains(&cell.generator.domain)
                && (self.generators.is_empty() || self.generators.iter().any(|name| name == cell.generator.name))
        };
        Cell::all().into_iter().filter(is_asked).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn refused(text: &str) -> String {
        toml::from_str::<EvalConfig>(text).unwrap().check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_accepted_and_ask_every_generator() {
        let config: EvalConfig = toml::from_str("").unwrap();
        assert_eq!(config, EvalConfig::default());
        config.check().unwrap();
        assert_eq!(config.tasks.cells().len(), Cell::all().len());
        let config: EvalConfig =
            toml::from_str("[tasks]\ndomains = [\"math\"]\ngenerators = [\"addition\"]\nmodes = [\"thinking\"]").unwrap();
        config.check().unwrap();
        assert!(config.tasks.cells().iter().all(|cell| cell.generator.name == "addition"));
        assert_eq!(config.tasks.modes, [Mode::Thinking]);
    }

    #[test]
    fn lengths_beyond_the_context_are_left_out() {
        let fitted = EvalConfig::default().fitted(4096);
        assert_eq!(fitted.likelihood.edges, [1024, 4096]);
        assert_eq!(fitted.recall.lengths, [2048]);
        assert_eq!(fitted.grid.lengths, [1024, 2048, 4096]);
        assert_eq!(EvalConfig::default().fitted(16_384), EvalConfig::default());
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (text, key, found) in [
            ("attention = []", "eval.attention", "found 0"),
            ("[grid]\nn_depths = 0", "eval.grid.n_depths", "found 0"),
            ("[grid]\nlengths = [300]", "eval.grid.lengths", "352"),
            ("[likelihood]\nedges = [64, 64]", "eval.likelihood.edges", "[64, 64]"),
            ("[recall]\nks = [4, 2]", "eval.recall.ks", "[4, 2]"),
            ("[grid]\ngenerators = [\"addition\"]", "eval.grid.generators", "needle, pairs"),
            ("[tasks]\ndomains = [\"math\"]\ngenerators = [\"needle\"]", "eval.tasks.generators", "document"),
            ("[tasks]\ndocument_length = 3", "eval.tasks.document_length", "found 3"),
            ("[tasks]\ngenerators = [\"addittion\"]", "addittion", "no generator"),
        ] {
            let error = refused(text);
            assert!(error.contains(key) && error.contains(found), "{text}: {error}");
        }
        assert!(toml::from_str::<EvalConfig>("[grid]\ndepth = 3").is_err());
    }
}

//! Verifiable tasks: prompts with a reference solution and a hidden answer, made from seeds.
//!
//! A [`Generator`] makes a [`Task`] from a level and a seed; [`Sampler`] streams different tasks of all levels of all generators,
//! in a [`Split`] that keeps problems of the tests out of training. [`Task::conversation`] is an example to learn from, with or
//! without a short thought; [`score`] holds a model's reply against the hidden answer, and [`RewardRules`] weighs it with length
//! and language. Tasks with tools are played in an [`Environment`].
//!
//! Everything is a function of its seed and of the [`Setting`]; there are no files, no threads, and
//! no GPU. Nothing fails on a model's reply.
//!
//! ```
//! use sferic_tasks::{Cell, Generator, Mode, Sampler, Setting, Split, score};
//!
//! let setting = Setting::default();
//! let task = Generator::named("addition")?.task(2, 7, &setting)?;
//! assert!(score(&task, task.reply()).correct);
//! assert!(!score(&task, "I do not know.").correct);
//! assert_eq!(task.conversation(Mode::Thinking).len(), 2);
//!
//! let tasks: Vec<_> = Sampler::new(Cell::all(), Split::Train, 1, &setting).take(20).collect::<Result<_, _>>()?;
//! assert!(tasks.iter().all(|task| Split::of(task) == Split::Train));
//! # Ok::<(), sferic_tasks::TaskError>(())
//! ```

#![deny(missing_docs)]

mod agent;
mod alignment;
mod answer;
mod check;
mod document;
mod error;
mod filler;
mod form;
mod generator;
mod jsonl;
mod math;
mod number;
mod phrases;
mod program;
mod random;
mod reasoning;
mod score;
mod setting;
mod split;
mod style;
mod task;
mod words;

pub use agent::{Environment, Limits, Step, World};
pub use check::Check;
pub use error::{Result, TaskError};
pub use filler::{Filler, PlainFiller, TextFiller};
pub use form::Form;
pub use generator::Generator;
pub use jsonl::{read_tasks, write_tasks};
pub use number::Decimal;
pub use random::Draws;
pub use score::{LengthPenalty, Outcome, Reward, RewardRules, language_consistency, score};
pub use setting::Setting;
pub use split::{Cell, Sampler, Split};
pub use style::{POLITE, Rule, UNKNOWING};
pub use task::{Domain, Mode, Task, with_document};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

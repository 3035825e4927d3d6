//! All questions of a part of an evaluation, many at a time where the engine computes many.

use std::collections::HashMap;

use sferic_engine::Engine;
use sferic_tasks::{Mode, Task};

use super::ask::{Manner, ask, ask_together, is_one_turn};
use super::config::Attention;
use super::record::{Place, Record, Reply, reply_key};
use super::run::{Event, Run};
use crate::TrainError;

/// Questions between whose records an evaluation may stop, where many are asked at a time: more than what is computed at a time, since the last
/// replies of a batch are computed by few rows.
const MOST_TOGETHER: usize = 512;

/// What is asked, and by which of the engines.
struct Question<'a> {
    engine_idx: usize,
    task: &'a Task,
    manner: Manner,
}

impl Question<'_> {
    fn key(&self) -> String {
        let Manner { place, mode, attention, .. } = self.manner;
        reply_key(&self.task.id, place, mode, attention)
    }
}

impl Run<'_> {
    /// Asks every task in every mode with every attention, unless its reply is there.
    pub(super) async fn ask_all(
        &mut self,
        part: &str,
        asked: &[(Option<Place>, &Task)],
        (modes, max_tokens): (&[Mode], usize),
    ) -> Result<bool, TrainError> {
        let engines = self.engines.clone();
        let mut questions = Vec::new();
        for (&(place, task), &mode) in asked.iter().flat_map(|asked| modes.iter().map(move |mode| (asked, mode))) {
            let manner = |attention| Manner { mode, attention, place, max_tokens };
            let of_engine = |(engine_idx, (attention, _)): (usize, &(Attention, Engine))| Question {
                engine_idx,
                task,
                manner: manner(*attention),
            };
            questions.extend(engines.iter().enumerate().map(of_engine));
        }
        let n_together = if engines.iter().any(|(_, engine)| engine.runs_on_kernels()) { MOST_TOGETHER } else { 1 };
        let mut done = 0;
        for some in questions.chunks(n_together) {
            let mut replies = self.replies_together(some, &engines).await?;
            for question in some {
                let key = question.key();
                if !self.journal.has(&key) {
                    let reply = match replies.remove(&key) {
                        Some(reply) => reply,
                        None if self.is_out_of_time() => return Ok(false),
                        None => ask(&engines[question.engine_idx].1, question.task, question.manner).await?,
                    };
                    self.keep(Record::Reply(Box::new(reply)))?;
                }
                done += 1;
                (self.observer)(&Event::Progress { part, done, total: questions.len() });
            }
        }
        Ok(true)
    }

    /// Replies to the questions that have none, by their keys, while there is time; of an engine that computes one reply at a time those of one turn,
    /// since a conversation of its own does not compute earlier turns again.
    async fn replies_together(
        &self,
        questions: &[Question<'_>],
        engines: &[(Attention, Engine)],
    ) -> Result<HashMap<String, Reply>, TrainError> {
        let mut replies = HashMap::new();
        for (engine_idx, (_, engine)) in engines.iter().enumerate() {
            let is_open = |question: &&Question<'_>| {
                let is_taken = engine.runs_on_kernels() || is_one_turn(question.task);
                question.engine_idx == engine_idx && is_taken && !self.journal.has(&question.key())
            };
            let open: Vec<&Question<'_>> = questions.iter().filter(is_open).collect();
            if open.is_empty() || self.is_out_of_time() {
                continue;
            }
            let asked: Vec<_> = open.iter().map(|question| (question.task, question.manner)).collect();
            replies.extend(open.iter().map(|question| question.key()).zip(ask_together(engine, &asked).await?));
        }
        Ok(replies)
    }
}

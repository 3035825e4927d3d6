//! Questions about one place of a long document, by the document's length and the place's depth.

use sferic_tasks::{Generator, Setting, Split, Task};

use super::record::Place;
use crate::TrainError;
use crate::hash::{fnv1a, mix};

/// Generators whose tasks may have one place that answers, which their thought quotes.
pub(super) const GENERATORS: [&str; 2] = ["needle", "pairs"];
/// Tokens for the question and the markup around it.
const QUESTION_TOKENS: usize = 160;
/// Tasks that are made for each one that is wanted, before a depth is given up.
const MAX_DRAWN: usize = 12;

/// Returns the tokens that a document may have where prompt and reply are `length` tokens.
pub(super) fn document_length(length: usize, max_tokens: usize) -> usize {
    length.saturating_sub(QUESTION_TOKENS + max_tokens)
}

/// Returns `n_tasks` tasks for each of `n_depths` equal parts of the document, of the test split and the longest level.
///
/// The generators place what answers anywhere; tasks are drawn until every part has its number, so that a part can be short of tasks only where
/// documents are too short to have it.
///
/// # Errors
/// [`TrainError::Tasks`] for a generator that does not exist.
pub(super) fn tasks(
    name: &str,
    length: usize,
    [n_depths, n_tasks]: [usize; 2],
    seed: u64,
    setting: &Setting,
) -> Result<Vec<(Place, Task)>, TrainError> {
    let generator = Generator::named(name)?;
    let mut parts: Vec<Vec<Task>> = vec![Vec::new(); n_depths];
    let seed = mix(seed ^ fnv1a(name.as_bytes()) ^ mix(length as u64));
    for draw in 0..n_depths * n_tasks * MAX_DRAWN {
        if parts.iter().all(|part| part.len() == n_tasks) {
            break;
        }
        let Some(task) = generator.task_in(Split::Test, generator.n_levels, mix(seed ^ draw as u64), setting)? else { continue };
        let Some(part) = depth(&task).and_then(|depth| parts.get_mut((depth * n_depths as f64) as usize)) else { continue };
        if part.len() < n_tasks && part.iter().all(|other| other.key != task.key) {
            part.push(task);
        }
    }
    let placed = parts.into_iter().enumerate().flat_map(|(depth, part)| part.into_iter().map(move |task| (depth, task)));
    Ok(placed.map(|(depth, task)| (Place { length, depth }, task)).collect())
}

/// Returns how far into the document the quotation in the task's thought stands, from 0 to below 1; nothing where there is no such place.
fn depth(task: &Task) -> Option<f64> {
    let document = task.document.as_deref()?;
    let thinking = task.thinking();
    let quoted = thinking.get(thinking.find('"')? + 1..thinking.rfind('"')?).filter(|quoted| !quoted.is_empty())?;
    let start = document.find(quoted)?;
    // Twice is nowhere.
    (document.rfind(quoted) == Some(start)).then(|| start as f64 / document.len() as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sferic_tasks::{PlainFiller, score};

    use super::*;

    #[test]
    fn every_part_of_the_document_has_its_tasks() {
        let setting = Setting::characters(PlainFiller, 3000);
        for name in GENERATORS {
            let found = tasks(name, 3000, [4, 3], 9, &setting).unwrap();
            assert_eq!(found.len(), 12, "{name}");
            for (place, task) in &found {
                let document = task.document.as_ref().unwrap();
                assert!(place.depth < 4 && (2000..=3000).contains(&document.len()), "{} {place:?}", document.len());
                assert!(score(task, task.reply()).correct && Split::of(task) == Split::Test);
                // The answer is in the quarter that the place names: what is cut out of it makes the depth another.
                let quarter = place.depth * document.len() / 4..(place.depth + 1) * document.len() / 4 + 200;
                let answer = task.check.answer();
                let near = document.get(quarter.start..quarter.end.min(document.len())).unwrap();
                assert!(near.to_lowercase().contains(&answer.to_lowercase()), "{name} {place:?} {answer}");
            }
            assert_eq!(found, tasks(name, 3000, [4, 3], 9, &setting).unwrap());
            assert_ne!(found, tasks(name, 3000, [4, 3], 10, &setting).unwrap());
        }
    }

    #[test]
    fn a_task_without_a_place_has_no_depth() {
        let absent = Generator::named("absent").unwrap().task(2, 5, &Setting::default()).unwrap();
        assert_eq!(depth(&Task { document: None, ..absent.clone() }), None);
        let addition = Generator::named("addition").unwrap().task(2, 5, &Setting::default()).unwrap();
        assert_eq!(depth(&addition), None);
    }
}

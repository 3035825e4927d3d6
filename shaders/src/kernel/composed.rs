//! Programs that are composed once.

use super::Program;
use std::any::TypeId;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

type Known = HashMap<(TypeId, &'static str, String), Arc<Program>>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// Returns the program that `compose` makes of `spec`, of which `part` says which one where a spec has several. It is composed for the first launch
/// alone: a step of a model has hundreds of launches of a few programs, and their text takes longer than all else in recording it.
///
/// What [`Debug`] shows of a spec has to tell it from others of its type, as a derived one does.
pub fn composed<S: Debug + 'static>(spec: &S, part: &'static str, compose: impl FnOnce() -> Program) -> Arc<Program> {
    let key = (TypeId::of::<S>(), part, format!("{spec:?}"));
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = known().get(&key) {
        return program.clone();
    }
    let program = Arc::new(compose());
    known().entry(key).or_insert(program).clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Prelude;

    fn program(text: &str) -> Program {
        Program::new("test".into(), &Prelude::new(), text, &[], [1, 1, 1])
    }

    #[test]
    fn a_program_is_composed_once_for_each_spec_and_part() {
        let mut n_composed = 0;
        let mut body = |spec: &u32, part, text: &str| {
            let compose = || {
                n_composed += 1;
                program(text)
            };
            composed(spec, part, compose).body.trim().to_owned()
        };
        for _ in 0..2 {
            let found = [body(&1, "", "a"), body(&2, "", "b"), body(&1, "rest", "c")];
            assert_eq!(found, ["a", "b", "c"]);
        }
        assert_eq!(n_composed, 3);
        assert_eq!(composed(&1_u64, "", || program("d")).body.trim(), "d");
    }
}

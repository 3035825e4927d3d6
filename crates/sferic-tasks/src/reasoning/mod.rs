//! Puzzles with one solution, sorting, calendars and clocks.

mod calendar;
mod clock;
mod ordering;
mod ownership;
mod truth;
mod word_order;

use crate::generator::Generator;
use crate::task::Domain::Reasoning;

pub(crate) const GENERATORS: &[Generator] = &[
    Generator::new(Reasoning, "ordering", 4, ordering::ordering),
    Generator::new(Reasoning, "truth", 3, truth::truth),
    Generator::new(Reasoning, "ownership", 3, ownership::ownership),
    Generator::new(Reasoning, "alphabet", 3, word_order::alphabet),
    Generator::new(Reasoning, "odd_one", 2, word_order::odd_one),
    Generator::new(Reasoning, "weekday", 3, calendar::weekday),
    Generator::new(Reasoning, "date", 3, calendar::date),
    Generator::new(Reasoning, "clock", 3, clock::clock),
];

/// Returns all orders of the numbers below `n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let with_last = |order: &Vec<usize>| {
        (0..n)
            .map(|place| {
                let mut longer = order.clone();
                longer.insert(place, n - 1);
                longer
            })
            .collect::<Vec<_>>()
    };
    shorter.iter().flat_map(with_last).collect()
}

/// Leaves out clues that are not needed: the solution stays the only one of the candidates that fits all clues.
fn minimal<C: Clone, S>(clues: Vec<C>, candidates: &[S], fits: impl Fn(&C, &S) -> bool) -> Vec<C> {
    let is_unique =
        |clues: &[C]| candidates.iter().filter(|candidate| clues.iter().all(|clue| fits(clue, candidate))).count() == 1;
    let mut needed = clues;
    let mut clue_idx = 0;
    while clue_idx < needed.len() {
        let mut fewer = needed.clone();
        fewer.remove(clue_idx);
        if is_unique(&fewer) {
            needed = fewer;
        } else {
            clue_idx += 1;
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_orders_are_there_once() {
        let mut orders = permutations(4);
        orders.sort();
        orders.dedup();
        assert_eq!(orders.len(), 24);
    }

    #[test]
    fn clues_that_others_imply_are_left_out() {
        let orders = permutations(3);
        let place = |order: &[usize], who: usize| order.iter().position(|other| *other == who);
        let fits = |clue: &(usize, usize), order: &Vec<usize>| place(order, clue.0) < place(order, clue.1);
        assert_eq!(minimal(vec![(0, 2), (0, 1), (1, 2)], &orders, fits), [(0, 1), (1, 2)]);
    }
}

//! Pages of the caches: who holds which, and which can be shared.
//!
//! A page holds [`PAGE`] tokens in every layer at once. Full pages are known by a hash of all tokens up to their end, so that a second session
//! with the same beginning takes them over instead of computing them again; a page that no sequence holds any more keeps its content, and is
//! given away when no empty one is left, the one that was let go first.

use std::collections::{HashMap, VecDeque};

/// Tokens of a page.
pub const PAGE: usize = 64;

/// The physical pages of one set of caches.
#[derive(Debug)]
pub struct Pages {
    /// Sequences that hold each page.
    holders: Vec<u32>,
    /// The chain hash of a page that is full.
    hashes: Vec<Option<u64>>,
    known: HashMap<u64, u32>,
    empty: Vec<u32>,
    /// Full pages that nobody holds, the oldest first. A page may stand here more than once; only its last place counts.
    idle: VecDeque<(u32, u64)>,
    /// When each page became idle.
    idle_since: Vec<u64>,
    clock: u64,
}

/// The pages of one sequence.
#[derive(Debug, Default)]
pub struct Table {
    /// Physical page of each run of [`PAGE`] tokens.
    pub pages: Vec<u32>,
    /// Chain hashes of the full pages that are known.
    hashes: Vec<u64>,
}

/// No page is left: what is asked for does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the caches have {total} pages of {PAGE} tokens and {free} of them are free; {needed} are needed: end a session or plan a longer context"
)]
pub struct OutOfPages {
    /// All pages.
    pub total: usize,
    /// Those that could be had.
    pub free: usize,
    /// Those that were asked for.
    pub needed: usize,
}

impl Pages {
    /// `count` empty pages.
    pub fn new(count: usize) -> Self {
        Self {
            holders: vec![0; count],
            hashes: vec![None; count],
            known: HashMap::new(),
            empty: (0..count as u32).rev().collect(),
            idle: VecDeque::new(),
            idle_since: vec![0; count],
            clock: 0,
        }
    }

    /// All pages.
    pub fn total(&self) -> usize {
        self.holders.len()
    }

    /// Adds empty pages until there are `count`.
    pub fn grow(&mut self, count: usize) {
        let before = self.total();
        if count > before {
            self.holders.resize(count, 0);
            self.hashes.resize(count, None);
            self.idle_since.resize(count, 0);
            // The lowest is taken first.
            self.empty.splice(0..0, (before as u32..count as u32).rev());
        }
    }

    /// Pages that a sequence could get now.
    pub fn free(&self) -> usize {
        self.holders.iter().filter(|&&holders| holders == 0).count()
    }

    /// Lengthens `table` so that it has room for `n_tokens`.
    ///
    /// # Errors
    /// [`OutOfPages`]; the table is unchanged then.
    pub fn reserve(&mut self, table: &mut Table, n_tokens: usize) -> Result<(), OutOfPages> {
        let needed = n_tokens.div_ceil(PAGE).saturating_sub(table.pages.len());
        let free = self.free();
        if needed > free {
            return Err(OutOfPages { total: self.holders.len(), free, needed });
        }
        for _ in 0..needed {
            if let Some(page) = self.take() {
                self.holders[page as usize] = 1;
                table.pages.push(page);
            }
        }
        Ok(())
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(page) = self.empty.pop() {
            return Some(page);
        }
        while let Some((page, since)) = self.idle.pop_front() {
            let at = page as usize;
            if self.holders[at] == 0 && self.idle_since[at] == since {
                self.forget(page);
                return Some(page);
            }
        }
        None
    }

    fn forget(&mut self, page: u32) {
        if let Some(hash) = self.hashes[page as usize].take() {
            self.known.remove(&hash);
        }
    }

    /// Takes over the pages that are already computed for the beginning of `tokens`; returns how many tokens they hold.
    ///
    /// At least one token is left to compute, since a reply begins with the logits of the last one.
    pub fn reuse(&mut self, table: &mut Table, tokens: &[u32]) -> usize {
        self.release(table);
        let mut hash = 0;
        for page_tokens in tokens[..tokens.len().saturating_sub(1)].chunks_exact(PAGE) {
            hash = chain(hash, page_tokens);
            let Some(&page) = self.known.get(&hash) else { break };
            self.holders[page as usize] += 1;
            table.pages.push(page);
            table.hashes.push(hash);
        }
        table.pages.len() * PAGE
    }

    /// Shares the full pages of `table`, which hold the first of its `n_tokens` tokens.
    pub fn share(&mut self, table: &Table, n_tokens: usize) -> Table {
        let whole = n_tokens / PAGE;
        let shared =
            Table { pages: table.pages[..whole].to_vec(), hashes: table.hashes[..whole.min(table.hashes.len())].to_vec() };
        shared.pages.iter().for_each(|&page| self.holders[page as usize] += 1);
        shared
    }

    /// Makes the full pages of `table` known, after the tokens that they hold have been computed.
    pub fn publish(&mut self, table: &mut Table, tokens: &[u32]) {
        for at in table.hashes.len()..tokens.len() / PAGE {
            let hash = chain(table.hashes.last().copied().unwrap_or(0), &tokens[at * PAGE..(at + 1) * PAGE]);
            let page = table.pages[at];
            // Another sequence may have computed the same page; the first one stays the known one.
            self.known.entry(hash).or_insert_with(|| {
                self.hashes[page as usize] = Some(hash);
                page
            });
            table.hashes.push(hash);
        }
    }

    /// Shortens `table` to the pages of its first `n_tokens` tokens. The last of them stays writable: a shared or known page is let go.
    pub fn truncate(&mut self, table: &mut Table, n_tokens: usize) {
        let whole = n_tokens / PAGE;
        let keep = if self.is_writable(table, whole) { n_tokens.div_ceil(PAGE) } else { whole };
        while table.pages.len() > keep {
            if let Some(page) = table.pages.pop() {
                self.let_go(page);
            }
        }
        table.hashes.truncate(whole);
    }

    /// Whether the sequence may write to its page `at`: it is the only holder, and nobody else can find it.
    fn is_writable(&self, table: &Table, at: usize) -> bool {
        table.pages.get(at).is_some_and(|&page| self.holders[page as usize] == 1 && self.hashes[page as usize].is_none())
    }

    /// Tokens of `table` that stand in pages which [`truncate`](Self::truncate) to `n_tokens` keeps.
    pub fn kept(&self, table: &Table, n_tokens: usize) -> usize {
        if self.is_writable(table, n_tokens / PAGE) { n_tokens } else { n_tokens / PAGE * PAGE }
    }

    /// Lets go of every page of `table`.
    pub fn release(&mut self, table: &mut Table) {
        for page in std::mem::take(&mut table.pages) {
            self.let_go(page);
        }
        table.hashes.clear();
    }

    fn let_go(&mut self, page: u32) {
        let at = page as usize;
        self.holders[at] -= 1;
        if self.holders[at] > 0 {
            return;
        }
        if self.hashes[at].is_some() {
            self.clock += 1;
            self.idle_since[at] = self.clock;
            self.idle.push_back((page, self.clock));
        } else {
            self.empty.push(page);
        }
    }
}

/// FNV-1a over 64 bits (Fowler, Noll and Vo), continued from the hash of the tokens before.
fn chain(before: u64, tokens: &[u32]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325 ^ before.rotate_left(17);
    for byte in tokens.iter().flat_map(|token| token.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    hash
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use super::*;

    fn tokens(n: usize, seed: u32) -> Vec<u32> {
        (0..n as u32).map(|i| i * 7 + seed).collect()
    }

    #[test]
    fn a_second_session_takes_over_whole_pages_and_computes_the_rest() {
        let mut pages = Pages::new(8);
        let said = tokens(3 * PAGE, 1);
        let mut first = Table::default();
        assert_eq!(pages.reuse(&mut first, &said), 0);
        pages.reserve(&mut first, said.len()).unwrap();
        pages.publish(&mut first, &said);
        let mut second = Table::default();
        // The last page would leave nothing to compute.
        assert_eq!(pages.reuse(&mut second, &said), 2 * PAGE);
        assert_eq!(second.pages, first.pages[..2]);
        let mut longer = said.clone();
        longer.extend(tokens(5, 9));
        assert_eq!(pages.reuse(&mut second, &longer), 3 * PAGE);
        let mut other = said;
        other[PAGE] += 1;
        assert_eq!(pages.reuse(&mut second, &other), PAGE);
    }

    #[test]
    fn a_page_that_nobody_holds_is_found_until_its_room_is_needed() {
        let mut pages = Pages::new(3);
        let said = tokens(2 * PAGE + 1, 1);
        let mut table = Table::default();
        pages.reserve(&mut table, said.len()).unwrap();
        pages.publish(&mut table, &said);
        pages.release(&mut table);
        assert_eq!(pages.free(), 3);
        assert_eq!(pages.reuse(&mut table, &said), 2 * PAGE);
        pages.release(&mut table);
        let mut other = Table::default();
        pages.reserve(&mut other, 3 * PAGE).unwrap();
        assert_eq!(pages.reuse(&mut table, &said), 0);
    }

    #[test]
    fn too_much_is_refused_and_changes_nothing() {
        let mut pages = Pages::new(2);
        let mut table = Table::default();
        pages.reserve(&mut table, PAGE).unwrap();
        let error = pages.reserve(&mut table, 4 * PAGE).unwrap_err();
        assert_eq!(error, OutOfPages { total: 2, free: 1, needed: 3 });
        assert_eq!((table.pages.len(), pages.free()), (1, 1));
    }

    #[test]
    fn a_known_page_is_never_written_again() {
        let mut pages = Pages::new(4);
        let said = tokens(PAGE, 1);
        let mut table = Table::default();
        pages.reserve(&mut table, said.len()).unwrap();
        pages.publish(&mut table, &said);
        let known = table.pages[0];
        assert_eq!(pages.kept(&table, PAGE - 1), 0);
        pages.truncate(&mut table, PAGE - 1);
        pages.reserve(&mut table, PAGE).unwrap();
        assert_ne!(table.pages[0], known);
        // A page that is not full is the sequence's own.
        pages.truncate(&mut table, 10);
        assert_eq!((table.pages.len(), pages.kept(&table, 10)), (1, 10));
    }

    #[test]
    fn whole_pages_are_shared_and_never_written_by_either() {
        let mut pages = Pages::new(4);
        let said = tokens(PAGE + 7, 1);
        for known in [false, true] {
            let mut first = Table::default();
            pages.reserve(&mut first, said.len()).unwrap();
            if known {
                pages.publish(&mut first, &said);
            }
            let mut second = pages.share(&first, said.len());
            assert_eq!(second.pages, first.pages[..1]);
            pages.reserve(&mut second, said.len()).unwrap();
            assert_ne!(second.pages[1], first.pages[1]);
            assert_eq!((pages.kept(&first, 9), pages.kept(&second, 9)), (0, 0));
            pages.release(&mut first);
            pages.release(&mut second);
            assert_eq!(pages.free(), 4);
        }
    }

    #[test]
    fn no_page_is_lost_or_held_twice() {
        let mut pages = Pages::new(16);
        let mut tables: Vec<Table> = (0..4).map(|_| Table::default()).collect();
        let mut state = 1_u64;
        for _ in 0..2000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (which, n) = ((state >> 33) as usize % 4, (state >> 40) as usize % (6 * PAGE) + 1);
            let said = tokens(n, (state >> 60) as u32 % 2);
            let table = &mut tables[which];
            let reused = pages.reuse(table, &said);
            assert!(reused < n);
            if pages.reserve(table, n).is_ok() {
                pages.publish(table, &said);
                if state >> 63 == 1 {
                    pages.truncate(table, n / 2);
                }
            }
            let mut held = vec![0; 16];
            tables.iter().flat_map(|table| &table.pages).for_each(|&page| held[page as usize] += 1);
            assert_eq!(held, pages.holders);
            for (hash, &page) in &pages.known {
                assert_eq!(pages.hashes[page as usize], Some(*hash));
            }
        }
    }
}

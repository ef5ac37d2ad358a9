//! Shrinking of a failing run: which of its steps are needed, by delta debugging (ddmin) within a budget of replays. It decides what to
//! replay next; somebody else replays.

use std::collections::{HashSet, VecDeque};

/// Search for few steps that still fail.
#[derive(Debug)]
pub struct Shrink {
    /// The fewest steps that are known to fail.
    smallest: Vec<usize>,
    /// Number of parts they are divided into.
    parts: usize,
    /// What is to be tried at this division, and the division after it if it fails.
    candidates: VecDeque<(Vec<usize>, usize)>,
    /// What is being replayed.
    under_way: Option<(Vec<usize>, usize)>,
    /// What was tried already.
    tried: HashSet<Vec<usize>>,
    replays_left: usize,
    is_done: bool,
}

impl Shrink {
    /// Search among steps `0..steps`, all of which together are known to fail, with so many replays at most.
    pub fn new(steps: usize, replays: usize) -> Self {
        let smallest: Vec<usize> = (0..steps).collect();
        // A run that fails without any fault says most.
        let candidates = VecDeque::from([(Vec::new(), 0)]);
        let tried = HashSet::from([smallest.clone()]);
        Self { smallest, parts: 1, candidates, under_way: None, tried, replays_left: replays, is_done: steps == 0 }
    }

    /// Steps to replay now; none when the search is over. The answer goes to [`Shrink::replayed`].
    pub fn next_replay(&mut self) -> Option<&[usize]> {
        if self.under_way.is_none() {
            self.under_way = self.next_candidate();
        }
        self.under_way.as_ref().map(|(steps, _)| steps.as_slice())
    }

    /// Takes the answer: whether what was asked last fails in the same way.
    pub fn replayed(&mut self, fails: bool) {
        let Some((steps, parts)) = self.under_way.take() else { return };
        if fails {
            self.is_done = steps.len() < 2 && self.tried.contains(&Vec::new());
            self.smallest = steps;
            self.parts = parts;
            self.divide();
        }
    }

    /// The fewest steps that are known to fail.
    pub fn smallest(&self) -> &[usize] {
        &self.smallest
    }

    /// Whether no step can be left out: false when the budget ended the search.
    pub fn is_minimal(&self) -> bool {
        self.is_done
    }

    fn next_candidate(&mut self) -> Option<(Vec<usize>, usize)> {
        while !self.is_done && self.replays_left > 0 {
            match self.candidates.pop_front() {
                Some((steps, parts)) => {
                    if self.tried.insert(steps.clone()) {
                        self.replays_left -= 1;
                        return Some((steps, parts));
                    }
                }
                None if self.parts >= self.smallest.len() => self.is_done = true,
                None => {
                    self.parts = (self.parts * 2).clamp(2, self.smallest.len().max(2));
                    self.divide();
                }
            }
        }
        None
    }

    /// Candidates of a division: each part alone, then everything but a part.
    fn divide(&mut self) {
        self.candidates.clear();
        let (steps, parts) = (&self.smallest, self.parts);
        if steps.len() < 2 || parts < 2 {
            return;
        }
        let bounds = |part: usize| part * steps.len() / parts..(part + 1) * steps.len() / parts;
        for part in 0..parts {
            self.candidates.push_back((steps[bounds(part)].to_vec(), 2));
        }
        for part in 0..parts {
            let left_out = bounds(part);
            let others = steps.iter().enumerate().filter(|(place, _)| !left_out.contains(place)).map(|(_, step)| *step);
            self.candidates.push_back((others.collect(), (parts - 1).max(2)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Searches with a judge; the result, whether it is minimal, and everything that was replayed.
    fn shrink(steps: usize, replays: usize, mut fails: impl FnMut(&[usize]) -> bool) -> (Vec<usize>, bool, Vec<Vec<usize>>) {
        let mut search = Shrink::new(steps, replays);
        let mut asked = Vec::new();
        while let Some(steps) = search.next_replay().map(<[usize]>::to_vec) {
            let answer = fails(&steps);
            asked.push(steps);
            search.replayed(answer);
        }
        (search.smallest().to_vec(), search.is_minimal(), asked)
    }

    #[test]
    fn a_run_that_fails_without_a_fault_needs_none() {
        assert_eq!(shrink(8, 10, |_| true), (Vec::new(), true, vec![Vec::new()]));
    }

    #[test]
    fn one_guilty_step_of_eight_is_found_by_halves() {
        let (smallest, is_minimal, asked) = shrink(8, 20, |steps| steps.contains(&5));
        assert_eq!((smallest, is_minimal), (vec![5], true));
        assert_eq!(asked[1..3], [vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        assert!(asked.len() <= 8, "{asked:?}");
    }

    #[test]
    fn without_a_budget_the_whole_remains() {
        assert_eq!(shrink(5, 0, |_| true), ((0..5).collect(), false, Vec::new()));
        assert_eq!(shrink(0, 9, |_| true).0, Vec::<usize>::new());
    }

    proptest! {
        /// A failure that needs a set of steps is shrunk to exactly these.
        #[test]
        fn the_needed_steps_are_found(steps in 1_usize..14, needed in proptest::collection::btree_set(0_usize..14, 0..5)) {
            let needed: Vec<usize> = needed.into_iter().filter(|step| *step < steps).collect();
            let fails = |found: &[usize]| needed.iter().all(|step| found.contains(step));
            let (smallest, is_minimal, _) = shrink(steps, usize::MAX, fails);
            prop_assert_eq!(smallest, needed);
            prop_assert!(is_minimal);
        }

        /// Whatever a judge says, also one that is not consistent with itself: the result has failed, nothing is asked twice or beyond the
        /// budget, steps stay in their order, and a minimal result does not fail with any one of its steps left out.
        #[test]
        fn the_result_has_failed_and_is_minimal(steps in 0_usize..10, replays in 0_usize..60, salt in any::<u64>()) {
            let fails = |found: &[usize]| {
                let mixed = found.iter().fold(salt, |mixed, step| (mixed ^ *step as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23));
                mixed % 3 == 0
            };
            let (smallest, is_minimal, asked) = shrink(steps, replays, fails);
            prop_assert!(asked.len() <= replays);
            prop_assert_eq!(asked.iter().collect::<HashSet<_>>().len(), asked.len());
            prop_assert!(smallest.len() == steps || fails(&smallest));
            prop_assert!(smallest.windows(2).all(|pair| pair[0] < pair[1]));
            if is_minimal && !smallest.is_empty() && smallest.len() < steps {
                for left_out in 0..smallest.len() {
                    let mut fewer = smallest.clone();
                    fewer.remove(left_out);
                    prop_assert!(!fails(&fewer), "{:?} of {:?}", fewer, smallest);
                }
            }
        }
    }
}

//! The pool: who holds how many permits, and in which order those who wait get theirs.

use std::collections::HashMap;

use super::claim::{Claim, Key};
use super::class::Class;
use super::limit::{Limit, PoolLimits};

/// Number of a caller that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It holds a permit.
    Granted,
    /// It waits; [`PermitPool::give_back`] names the ticket when it holds one.
    Waits(Ticket),
    /// It neither holds one nor waits.
    Refused(Limit),
}

struct Waiter {
    ticket: Ticket,
    due_ms: u64,
    claim: Claim,
}

/// Permits of a pool. Time is handed in, in milliseconds of a clock that never steps back.
pub struct PermitPool {
    limits: PoolLimits,
    in_use: [usize; Class::COUNT],
    held: HashMap<Key, usize>,
    /// By class, then by when they are due, then by when they came.
    waiters: Vec<Waiter>,
    waiting: [usize; Class::COUNT],
    waiting_by_key: HashMap<Key, usize>,
    next_ticket: u64,
}

impl PermitPool {
    /// A pool that nobody uses yet.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            in_use: [0; Class::COUNT],
            held: HashMap::new(),
            waiters: Vec::new(),
            waiting: [0; Class::COUNT],
            waiting_by_key: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &PoolLimits {
        &self.limits
    }

    /// Permits that callers of a class hold.
    pub fn in_use(&self, class: Class) -> usize {
        self.in_use[class as usize]
    }

    /// Callers of a class that wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.waiting[class as usize]
    }

    /// Whether a claim would be granted right now, or the limit that stands against it.
    ///
    /// # Errors
    /// The limit. That of a key comes before that of the pool: it is the one that the caller can do something about.
    pub fn check(&self, claim: &Claim) -> Result<(), Limit> {
        for (key, limit) in claim.keys() {
            if self.held.get(&key).copied().unwrap_or(0) >= self.limits.of_key(limit) {
                return Err(limit);
            }
        }
        let total = self.in_use.iter().sum::<usize>();
        if total >= self.limits.capacity {
            return Err(Limit::Capacity);
        }
        // A permit counts for its class and every more important one, so that a class is left what those below it may not have.
        for class in Class::ALL.into_iter().filter(|class| *class <= claim.class) {
            let of_it_and_below: usize = self.in_use[class as usize..].iter().sum();
            if of_it_and_below >= self.limits.ceiling(class) {
                return Err(Limit::Reserve);
            }
        }
        Ok(())
    }

    /// Takes a permit if there is one now.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn take(&mut self, claim: &Claim) -> Result<(), Limit> {
        self.check(claim)?;
        self.hold(claim);
        Ok(())
    }

    /// Takes a permit, or a place among those who wait.
    pub fn ask(&mut self, claim: Claim, now_ms: u64) -> Answer {
        let Err(limit) = self.take(&claim) else { return Answer::Granted };
        if self.limits.waiting == 0 {
            return Answer::Refused(limit);
        }
        // Nobody takes every place to wait either.
        let of_key = self.limits.waiting.div_ceil(2);
        let is_crowded = |key: Key| self.waiting_by_key.get(&key).copied().unwrap_or(0) >= of_key;
        if self.waiting(claim.class) >= self.limits.waiting || claim.keys().any(|(key, _)| is_crowded(key)) {
            return Answer::Refused(Limit::Waiting);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let due_ms = now_ms.saturating_add(claim.delay_ms);
        let at = self.waiters.partition_point(|other| (other.claim.class, other.due_ms, other.ticket) < (claim.class, due_ms, ticket));
        self.waiting[claim.class as usize] += 1;
        for (key, _) in claim.keys() {
            *self.waiting_by_key.entry(key).or_default() += 1;
        }
        self.waiters.insert(at, Waiter { ticket, due_ms, claim });
        Answer::Waits(ticket)
    }

    /// Gives a permit back. Answers who holds one now that waited before.
    pub fn give_back(&mut self, claim: &Claim) -> Vec<Ticket> {
        let in_use = &mut self.in_use[claim.class as usize];
        *in_use = in_use.saturating_sub(1);
        claim.keys().for_each(|(key, _)| count_down(&mut self.held, key));
        self.serve()
    }

    /// Gives up waiting. `false`: the caller does not wait, it holds a permit already.
    pub fn give_up(&mut self, ticket: Ticket) -> bool {
        let at = self.waiters.iter().position(|waiter| waiter.ticket == ticket);
        at.map(|at| self.leave(at)).is_some()
    }

    /// Whether nobody holds a permit or waits.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.waiters.is_empty() && self.waiting_by_key.is_empty() && self.in_use.iter().all(|in_use| *in_use == 0)
    }

    /// Gives permits to those who wait, in their order; who is at a share of its own is passed over.
    fn serve(&mut self) -> Vec<Ticket> {
        let mut served = Vec::new();
        let mut at = 0;
        while at < self.waiters.len() {
            match self.check(&self.waiters[at].claim) {
                Ok(()) => {}
                // Nobody behind it gets one either.
                Err(Limit::Capacity) => break,
                Err(_) => {
                    at += 1;
                    continue;
                }
            }
            let Waiter { ticket, claim, .. } = self.leave(at);
            self.hold(&claim);
            served.push(ticket);
        }
        served
    }

    fn leave(&mut self, at: usize) -> Waiter {
        let waiter = self.waiters.remove(at);
        self.waiting[waiter.claim.class as usize] -= 1;
        waiter.claim.keys().for_each(|(key, _)| count_down(&mut self.waiting_by_key, key));
        waiter
    }

    fn hold(&mut self, claim: &Claim) {
        self.in_use[claim.class as usize] += 1;
        for (key, _) in claim.keys() {
            *self.held.entry(key).or_default() += 1;
        }
    }
}

fn count_down(counts: &mut HashMap<Key, usize>, key: Key) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

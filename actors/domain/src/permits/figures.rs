//! Figures of a pool, for people.

/// Use of a pool at a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Name of a [`PoolName`](super::PoolName), or one that a later build knows.
    pub pool: String,
    /// Permits that there are.
    pub capacity: u64,
    /// Permits in use.
    pub in_use: u64,
    /// Callers that wait for one.
    pub waiting: u64,
    /// Callers refused since the node started.
    pub refused: u64,
}

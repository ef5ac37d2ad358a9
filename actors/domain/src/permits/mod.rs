//! Fair shares of what is limited: who may hold how many permits of a pool, and who waits for the next one.
//!
//! A pool has a capacity. Each key that a caller counts under (device, account, API token, link, address) may hold so many of
//! it at a time, and a part of it is reserved for the callers that matter most.

mod claim;
mod class;
mod figures;
mod limit;
mod name;
mod pool;
#[cfg(test)]
mod tests;

pub use claim::{Claim, Key};
pub use class::Class;
pub use figures::PoolFigures;
pub use limit::{Limit, PoolLimits};
pub use name::PoolName;
pub use pool::{Answer, PermitPool, Ticket};

/// How late the sign-in of a stranger is served while others wait: twice as late with each recent failure of its address.
pub fn stranger_delay_ms(recent_failures: u32, first_ms: u64, max_ms: u64) -> u64 {
    match recent_failures {
        0 => 0,
        failures => first_ms.saturating_mul(1_u64.checked_shl(failures - 1).unwrap_or(u64::MAX)).min(max_ms),
    }
}

//! Resource limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are not connections: standard streams, state, logs.
const OTHER_FILES: u64 = 256;

/// Most connections that the limits allow.
pub fn connections_possible() -> u64 {
    getrlimit(Resource::Nofile).maximum.map_or(u64::MAX, |maximum| maximum.saturating_sub(OTHER_FILES))
}

/// Raises the limit of open files so that `connections` fit; an error says
/// what to do when the system's hard limit is in the way.
pub fn allow_connections(connections: u64) -> Result<(), String> {
    let wanted = connections + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    // A privileged process may raise the hard limit too; others stay below it.
    let hard = limit.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    let raise = |maximum| setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    if limit.maximum.is_none_or(|maximum| maximum >= wanted) && raise(limit.maximum).is_ok() {
        return Ok(());
    }
    raise(Some(hard)).map_err(|_| {
        format!("{wanted} open files are needed, the system allows {}: raise it with `ulimit -n {wanted}`", limit.maximum.unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_connections_are_always_possible_and_absurd_ones_are_explained() {
        allow_connections(16).unwrap();
        let refusal = allow_connections(u64::MAX / 2).unwrap_err();
        assert!(refusal.contains("ulimit"), "{refusal}");
    }
}

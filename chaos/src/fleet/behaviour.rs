//! Simulated reactions to commands: weights on the command line, and the reaction drawn for each command, the same for
//! every repeat of it.

use std::fmt;
use std::str::FromStr;

/// Reaction of a device to a valid command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Runs it and reports success.
    Execute,
    /// Does not run it and reports `skipped`.
    Refuse,
    /// Runs it and reports failure.
    Fail,
    /// Reports `received`, and the final result only after a delay.
    Late,
    /// Runs it and loses the connection before the result is acknowledged.
    LoseAnswer,
    /// Runs it and reports `received`, but no final result.
    NeverAnswer,
    /// Ignores the socket, so that the command has to take another path.
    DeafSocket,
}

/// Names on the command line.
const NAMES: [(&str, Behaviour); 7] = [
    ("execute", Behaviour::Execute),
    ("refuse", Behaviour::Refuse),
    ("fail", Behaviour::Fail),
    ("late", Behaviour::Late),
    ("lose-answer", Behaviour::LoseAnswer),
    ("never-answer", Behaviour::NeverAnswer),
    ("deaf-socket", Behaviour::DeafSocket),
];

/// Weights of the behaviours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviours([u32; NAMES.len()]);

impl Behaviours {
    /// Behaviour for a command, a function of the seed.
    pub(super) fn of(&self, seed: u64, request_id: &str) -> Behaviour {
        let total: u64 = self.0.iter().map(|weight| u64::from(*weight)).sum();
        let mut left = hash(seed, request_id) % total.max(1);
        for (weight, (_, behaviour)) in self.0.iter().zip(NAMES) {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return behaviour,
            }
        }
        Behaviour::Execute
    }
}

impl FromStr for Behaviours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || NAMES.map(|(name, _)| name).join(", ");
        let mut weights = [0_u32; NAMES.len()];
        for part in text.split(',') {
            let (name, weight) = part.trim().split_once('=').ok_or_else(|| format!("`{part}`: expected the form execute=80"))?;
            let place = NAMES.iter().position(|(known, _)| *known == name);
            let place = place.ok_or_else(|| format!("`{name}`: expected one of {}", known()))?;
            weights[place] = weight.parse().map_err(|_| format!("weight `{weight}` is not a whole number"))?;
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err("all weights are 0".into());
        }
        Ok(Self(weights))
    }
}

impl fmt::Display for Behaviours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let given = self.0.iter().zip(NAMES).filter(|(weight, _)| **weight > 0);
        f.write_str(&given.map(|(weight, (name, _))| format!("{name}={weight}")).collect::<Vec<_>>().join(","))
    }
}

/// FNV-1a with the finalizer of SplitMix64, so that similar ids get unrelated hashes.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    let mut hash = text.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_parsed_and_kept() {
        let text = "execute=80,refuse=5,fail=5,late=5,lose-answer=5";
        let behaviours: Behaviours = text.parse().unwrap();
        assert_eq!(behaviours.to_string(), text);
        let mut late = 0;
        for n in 0..10_000 {
            let id = format!("r{n}");
            assert_eq!(behaviours.of(7, &id), behaviours.of(7, &id));
            late += u32::from(behaviours.of(7, &id) == Behaviour::Late);
            assert_ne!(behaviours.of(7, &id), Behaviour::NeverAnswer, "its weight is 0");
        }
        assert!((350..650).contains(&late), "{late} of 10,000 where 500 belong");
    }

    #[test]
    fn invalid_weights_are_refused() {
        for text in ["", "execute", "execute=x", "explode=1", "execute=0", "execute=-1"] {
            assert!(text.parse::<Behaviours>().is_err(), "{text}");
        }
    }
}

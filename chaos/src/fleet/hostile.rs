//! Simulated attacker between node and device, who adds altered, repeated and foreign commands to the genuine ones.

use std::sync::{Mutex, PoisonError};

use rand::RngExt;
use rand::rngs::SmallRng;
use wire::agent::Command;

/// Commands of other devices that are kept for replay elsewhere.
const OVERHEARD: usize = 32;

/// State of the attacker.
pub(super) struct Hostile {
    /// Share of genuine commands that forged ones are added to.
    share: f64,
    overheard: Mutex<Vec<Command>>,
}

impl Hostile {
    pub(super) fn new(share: f64) -> Self {
        Self { share, overheard: Mutex::new(Vec::new()) }
    }

    /// Forged commands to deliver with a genuine one: the first half before it, the rest after it.
    pub(super) fn tamper(&self, genuine: &Command, rng: &mut SmallRng) -> Vec<Command> {
        let foreign = {
            let mut overheard = self.overheard.lock().unwrap_or_else(PoisonError::into_inner);
            let foreign = overheard.iter().find(|command| command.device_id != genuine.device_id).cloned();
            if overheard.len() >= OVERHEARD {
                overheard.swap_remove(rng.random_range(0..OVERHEARD));
            }
            overheard.push(genuine.clone());
            foreign
        };
        if !rng.random_bool(self.share) {
            return Vec::new();
        }
        let altered = |change: &dyn Fn(&mut Command)| {
            let mut command = genuine.clone();
            change(&mut command);
            command
        };
        let mut slipped_in = vec![
            altered(&|command| command.action = "reboot".into()),
            altered(&|command| command.params = r#"{"package":"com.example.evil"}"#.into()),
            altered(&|command| command.request_id = uuid::Uuid::new_v4().to_string()),
            altered(&|command| command.expires_at = "2099-01-01T00:00:00Z".into()),
            altered(&|command| command.ts = "2099-01-01T00:00:00Z".into()),
            altered(&|command| command.signature = "0".repeat(64)),
            altered(&|command| command.v = "0".into()),
        ];
        // A command of another device, as it is and readdressed to this one.
        if let Some(foreign) = foreign {
            slipped_in.push(Command { device_id: genuine.device_id.clone(), ..foreign.clone() });
            slipped_in.push(foreign);
        }
        // Last, so that it follows the genuine one: an exact replay.
        slipped_in.push(genuine.clone());
        slipped_in
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::agent_command::{DeviceKey, Keys, Seen, Verdict, judge, sign};

    #[test]
    fn a_device_runs_no_forged_command() {
        let hostile = Hostile::new(1.0);
        let mut rng = SmallRng::seed_from_u64(1);
        let now = chrono::DateTime::from_timestamp(1_795_275_377, 0).unwrap();
        for (device_id, byte, slipped_in) in [("d1", "11", 8), ("d2", "22", 10)] {
            let key = DeviceKey::from_hex(&byte.repeat(32)).unwrap();
            let mut genuine = Command {
                request_id: format!("r-{device_id}"),
                device_id: device_id.into(),
                action: "ping".into(),
                ts: "2026-11-21T15:36:00Z".into(),
                expires_at: "2026-11-21T15:46:00Z".into(),
                params: "{}".into(),
                signature: String::new(),
                v: "1".into(),
            };
            genuine.signature = sign(&key, &genuine);
            let tampered = hostile.tamper(&genuine, &mut rng);
            assert_eq!(tampered.len(), slipped_in);
            let (before, after) = tampered.split_at(tampered.len() / 2);
            let (keys, mut seen) = (Keys::of(key), Seen::default());
            let ran = before.iter().chain([&genuine]).chain(after).map(|command| judge(&keys, device_id, command, now, &mut seen));
            let ran: Vec<usize> = ran.enumerate().filter(|(_, verdict)| *verdict == Verdict::Run).map(|(n, _)| n).collect();
            assert_eq!(ran, [before.len()], "the genuine one alone");
        }
    }
}

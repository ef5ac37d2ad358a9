//! Request template of a device, patched in place for every heartbeat, as the generator shares its cores with the server
//! it measures.

use anyhow::{Context, Result};
use chrono::{DateTime, Datelike, Timelike, Utc};
use rand::rngs::SmallRng;

use crate::http::ServerUrl;
use crate::identity::{Identity, profile_of};
use crate::model::{State, heartbeat, timestamp};

/// Ten digits from the first heartbeat on, so that its width never changes.
const SEQ_START: u64 = 1_000_000_000;
/// From full to nearly empty.
const BATTERY_LASTS_MIN: u64 = 600;

/// The bytes of `POST /v1/heartbeat` and where its changing values stand.
pub(super) struct RequestTemplate {
    bytes: Vec<u8>,
    timestamp_at: usize,
    battery_at: usize,
    ram_at: usize,
    seq_at: usize,
}

impl RequestTemplate {
    /// The request of one device with one session.
    pub(super) fn new(url: &ServerUrl, identity: &Identity, session_token: &str, seed: u64) -> Result<Self> {
        let (profile, mut rng): (_, SmallRng) = profile_of(seed, identity.number, 0.0);
        // Values of a fixed width; what they are is decided when they are patched.
        let state = State { battery_pct: 50.0, ram_available_mb: 1_000.0, seq: SEQ_START, ..State::draw(&profile, &mut rng) };
        let body = serde_json::to_string(&heartbeat(&profile, &state, &identity.alias, DateTime::UNIX_EPOCH, 0))?;
        let head = format!(
            "POST /v1/heartbeat HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {session_token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            url.authority(),
            body.len()
        );
        let place = |key: &str, value: &str| {
            let found = body.find(&format!("{key}{value}")).with_context(|| format!("no {key}{value} in the heartbeat"))?;
            anyhow::Ok(head.len() + found + key.len())
        };
        Ok(Self {
            timestamp_at: place("\"timestamp_utc\":\"", &timestamp(DateTime::UNIX_EPOCH))?,
            battery_at: place("\"pct\":", "50")?,
            ram_at: place("\"avail_ram_mb\":", "1000")?,
            seq_at: place("\"seq\":", &SEQ_START.to_string())?,
            bytes: [head.as_bytes(), body.as_bytes()].concat(),
        })
    }

    /// The request for heartbeat number `n`, at `time`.
    pub(super) fn at(&mut self, time: DateTime<Utc>, n: u64) -> &[u8] {
        let t = self.timestamp_at;
        let year = u64::from(time.year().unsigned_abs());
        for (offset, width, value) in [
            (0, 4, year),
            (5, 2, time.month().into()),
            (8, 2, time.day().into()),
            (11, 2, time.hour().into()),
            (14, 2, time.minute().into()),
            (17, 2, time.second().into()),
        ] {
            put(&mut self.bytes[t + offset..t + offset + width], value);
        }
        // One that runs down within hours: a level that jumps about would be an event each time.
        let minutes_left = BATTERY_LASTS_MIN - time.timestamp().unsigned_abs() / 60 % BATTERY_LASTS_MIN;
        put(&mut self.bytes[self.battery_at..self.battery_at + 2], 10 + (minutes_left - 1) * 90 / BATTERY_LASTS_MIN);
        put(&mut self.bytes[self.ram_at..self.ram_at + 4], 1_000 + n * 37 % 900);
        put(&mut self.bytes[self.seq_at..self.seq_at + 10], SEQ_START + n % SEQ_START);
        &self.bytes
    }
}

/// Writes a number over the digits that stand there.
fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use wire::agent::Heartbeat;
    use wire::lenient::Int;

    use super::*;

    #[test]
    fn every_patched_request_is_a_whole_one() {
        let url = "http://127.0.0.1:8080".parse().unwrap();
        let start = DateTime::from_timestamp(1_795_275_370, 0).unwrap();
        for number in 0..200 {
            let identity = Identity {
                number,
                device_id: "d".into(),
                alias: format!("load-{number}"),
                device_token: "t".into(),
                device_key: "k".into(),
                next_device_key: None,
            };
            let mut template = RequestTemplate::new(&url, &identity, "ey.x.y", 1).unwrap();
            for n in [0, 1, 89, 90, 12_345] {
                let time = start + TimeDelta::seconds(10 * n as i64);
                let request = String::from_utf8(template.at(time, n).to_vec()).unwrap();
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                assert!(head.contains("authorization: Bearer ey.x.y\r\n"), "{head}");
                assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
                let heartbeat: Heartbeat = serde_json::from_str(body).unwrap();
                assert_eq!(heartbeat.timestamp_utc.unwrap(), timestamp(time));
                assert!((10..100).contains(&heartbeat.battery.unwrap().pct.unwrap().0));
                assert_eq!(heartbeat.seq, Some(Int(1_000_000_000 + n as i64)));
            }
        }
    }
}

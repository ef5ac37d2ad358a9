//! Free ports.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

/// Below what Linux gives to outgoing connections (32768 and up), so that none
/// of them takes the port while its node is restarting.
const PORTS: std::ops::Range<u16> = 18_000..32_000;
const TRIES: u32 = 200;

/// A currently free port of 127.0.0.1.
pub fn free_port() -> io::Result<u16> {
    let mut rng = rand::rng();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        let port = rng.random_range(PORTS);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        let port = free_port().unwrap();
        assert!(PORTS.contains(&port));
    }
}

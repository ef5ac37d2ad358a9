//! Archives as others use them: what is written comes back, and whatever a store does is noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod common;
mod database;
mod device;
mod faults;
mod faulty_store;
mod readers;
mod round_trip;

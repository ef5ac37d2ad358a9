//! Channels and the sender, against services that speak the real protocols over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod channels;
mod http_target;
mod mail;
mod mail_server;
mod sender;
mod setup;

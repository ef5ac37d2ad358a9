//! Notifications about alerts.

//! `[telemetry]`: what is kept of what devices report.

use domain::Invalid;
use domain::telemetry::OptIn;

use super::Telemetry;

impl Telemetry {
    pub(crate) fn opted_in(&self) -> Result<OptIn, Invalid> {
        OptIn::parse("telemetry.opt_in", &self.opt_in)
    }
}

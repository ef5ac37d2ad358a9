//! Verdict of a run: what happened is recorded in a folder, judged, and told as text, JSON, JUnit XML and one page. A run can be judged again
//! from its folder alone.

mod command;
mod conclude;
mod event;
mod files;
mod junit;
mod markup;
mod model;
mod page;
mod promises;
mod recorder;
mod run;
#[cfg(test)]
mod sample;
mod text;
mod windows;

pub use command::{JudgeArgs, run as judge_command};
pub use conclude::{Findings, conclude, judge};
pub use event::{Event, LoadWindow, What};
pub use files::{EVENTS, HISTORY, MEASURED, RUN, SCENARIO, VERDICT_HTML, VERDICT_JSON, VERDICT_TXT, VERDICT_XML, read_events};
pub use model::{COUNTEREXAMPLES_MAX, Comparison, Counterexample, Outcome, PromiseVerdict, SteadyState, Threshold, Verdict, When};
pub use promises::{ids as promise_ids, text as promise_text};
pub use recorder::{EventSender, RecordLimits, Recorded, RunRecorder};
pub use run::{Machine, Run, Version};
pub use windows::LoadWindows;

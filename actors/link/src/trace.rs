//! Traces across nodes: the context of a span travels in the messages of the link, as W3C Trace Context writes it (`traceparent`).
//!
//! Spans of traces have a target of their own and the level `TRACE`, so that nothing is made of them while traces are off; then no
//! message carries a context either. What makes traces of them is the business of the binary.

use std::sync::OnceLock;

use tracing::Span;

/// Target of the spans that make traces.
pub const TARGET: &str = "nexmdm_trace";

/// Longest context that is read: that of version 00 has 55 characters.
const CONTEXT_MAX_BYTES: usize = 128;

/// How the context of a span is read and set.
#[derive(Debug, Clone, Copy)]
pub struct TraceContext {
    /// Context of a span, if its trace is recorded.
    pub read: fn(&Span) -> Option<String>,
    /// Makes a span the child of what a context names; one that does not read is ignored.
    pub set_parent: fn(&Span, &str),
}

static CONTEXT: OnceLock<TraceContext> = OnceLock::new();

/// Turns traces of this process on, once.
pub fn turn_on(context: TraceContext) {
    // As the dispatcher of `tracing`, it is one per process, and the first one stays.
    let _ = CONTEXT.set(context);
}

/// Context of the current span; `None` while traces are off, and of a trace that is not recorded.
pub fn current() -> Option<String> {
    CONTEXT.get().and_then(|context| (context.read)(&Span::current()))
}

/// Makes `span` the child of what came with a message or request.
pub fn continue_from(span: &Span, traceparent: &str) {
    if let Some(context) = CONTEXT.get().filter(|_| traceparent.len() <= CONTEXT_MAX_BYTES) {
        (context.set_parent)(span, traceparent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_traces_are_off_nothing_travels() {
        assert_eq!(current(), None);
        continue_from(&Span::current(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(current(), None);
    }
}

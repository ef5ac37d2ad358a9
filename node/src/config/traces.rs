//! `[tracing]`: traces by OTLP.

use domain::Invalid;

use super::sections::Tracing;

impl Tracing {
    /// Whether traces are made.
    pub(crate) fn is_on(&self) -> bool {
        !self.otlp_url.is_empty()
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        if !self.is_on() {
            return Ok(());
        }
        let url = url::Url::parse(&self.otlp_url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
        let Some(url) = url else {
            return Err(Invalid::new(
                "tracing.otlp_url",
                "neither http://host:port nor https://host:port of a collector that takes OTLP over HTTP",
            ));
        };
        if !url.username().is_empty() || url.password().is_some() {
            let problem = "has a user name or password, which logs would show: put credentials into OTEL_EXPORTER_OTLP_HEADERS";
            return Err(Invalid::new("tracing.otlp_url", problem));
        }
        if self.batch_spans_max > self.queue_spans_max {
            return Err(Invalid::range("tracing.batch_spans_max", self.batch_spans_max, 1, self.queue_spans_max));
        }
        Ok(())
    }

    /// Where spans are posted: the path that OTLP over HTTP names, below the collector's URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}/v1/traces", self.otlp_url.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;

    #[test]
    fn traces_are_off_by_default_and_a_collector_is_a_url() {
        assert!(!parse(&[]).unwrap().tracing.is_on());
        let of = |url: &str| parse(&[("NEXMDM__TRACING__OTLP_URL", url)]);
        for url in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"] {
            assert_eq!(of(url).unwrap().tracing.endpoint(), "http://127.0.0.1:4318/v1/traces");
        }
        for bad in ["127.0.0.1:4318", "grpc://collector:4317", "http://", "https://user:hunter2@collector"] {
            let error = of(bad).unwrap_err().to_string();
            assert!(error.contains("tracing.otlp_url") && !error.contains("hunter2"), "{bad}: {error}");
        }
        for (variable, value, field) in [
            ("NEXMDM__TRACING__SAMPLED_PER_MILLION", "1000001", "tracing.sampled_per_million"),
            ("NEXMDM__TRACING__BATCH_SPANS_MAX", "65537", "tracing.batch_spans_max"),
            ("NEXMDM__TRACING__TIMEOUT_MS", "1", "tracing.timeout_ms"),
        ] {
            let error = parse(&[("NEXMDM__TRACING__OTLP_URL", "http://collector:4318"), (variable, value)]).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}

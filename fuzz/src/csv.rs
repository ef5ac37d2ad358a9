//! Tables that are imported: every row is taken, or named with its problem.

pub(super) fn run(data: &[u8]) {
    let Ok(report) = services::read_import(data) else { return };
    let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() as u64 + 1;
    assert!(report.rows as u64 <= lines, "{} rows in {lines} lines", report.rows);
    assert!(report.problems.len() <= report.problems_total);
    for problem in &report.problems {
        assert!((1..=lines).contains(&problem.line), "line {} of {lines}: {}", problem.line, problem.problem);
    }
}

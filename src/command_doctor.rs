//! `lightbox doctor`: asks every part of a board whether it works, and says what to do. Ends with 0 or 1.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use lightbox::config::Board;
use lightbox::kiosk::{Finding, Severity, examine};
use serde_json::{Value, json};

use super::{Failure, default_threads};

#[derive(clap::Args)]
pub(crate) struct DoctorArguments {
    /// The board file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// One JSON object instead of words
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &DoctorArguments) -> Result<ExitCode, Failure> {
    let board = Board::read(&arguments.config)?;
    let findings = examine(&board, default_threads());
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Good);
    let mut out = io::stdout().lock();
    if arguments.json {
        let list: Vec<Value> = findings.iter().map(value).collect();
        writeln!(out, "{}", json!({"worst": worst.name(), "findings": list}))?;
    } else {
        for finding in &findings {
            writeln!(out, "{:<9} {}: {}", finding.severity.name(), finding.part, finding.found)?;
            if !finding.advice.is_empty() {
                writeln!(out, "{:<9} to do: {}", "", finding.advice)?;
            }
        }
    }
    Ok(if worst == Severity::Fault { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn value(finding: &Finding) -> Value {
    json!({
        "part": finding.part, "severity": finding.severity.name(), "found": finding.found, "advice": finding.advice
    })
}

//! `lightbox run`: the kiosk; `lightbox board`: whether a board file can be used.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use lightbox::config::{self, Board, PanelConfig};
use lightbox::kiosk;

use super::{Failure, default_threads};

#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// The board file: panel, keys, where films come from, what is kept
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[derive(clap::Subcommand)]
pub(crate) enum BoardCommand {
    /// Says whether a board file can be used: status 0, or 1 with the key, what was found and what was expected
    ///
    /// Devices that are not there are named, too, but are no error: the file may be for another board.
    Check {
        /// The board file
        file: PathBuf,
    },
}

pub(crate) fn help() -> String {
    format!(
        "An example of a board file; keys behind # have these values by default.\n\n{}\nDevices:\n\n{}\nThe network is as \
        in `lightbox listen --help`: [listener], [[listener.peers]], [limits], and the archive: [pacs].",
        config::BOARD_EXAMPLE,
        config::DEVICES_EXAMPLE
    )
}

/// What the log tells where nobody says so: nothing where it would be written over the panel.
pub(crate) fn log_level(arguments: &RunArguments) -> &'static str {
    let on_terminal = Board::read(&arguments.config).is_ok_and(|board| board.devices.panel == PanelConfig::Terminal);
    if on_terminal && io::stderr().is_terminal() { "off" } else { "info" }
}

pub(crate) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    Ok(kiosk::run(Board::read(&arguments.config)?, default_threads())?)
}

pub(crate) fn board(command: &BoardCommand) -> Result<(), Failure> {
    let BoardCommand::Check { file } = command;
    let board = Board::read(file)?;
    let mut out = io::stdout().lock();
    for missing in kiosk::missing_devices(&board) {
        writeln!(out, "warning: {}: {}: {}", missing.part, missing.found, missing.advice)?;
    }
    writeln!(out, "{}: can be used", file.display())?;
    Ok(())
}

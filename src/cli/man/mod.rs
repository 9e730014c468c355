//! `mqtt-lb man`: the manual pages that the program carries.
//!
//! Their sources are the Markdown files in `deploy/man`, which code hosts display directly. The
//! program converts them to roff for man(1).

mod render;
mod table;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Command, ValueEnum};

use super::exit_code::FAILED;

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// The page to print.
    #[arg(value_enum, default_value_t = ManPage::MqttLb)]
    page: ManPage,
    /// Write all pages to FOLDER/man1, man5 and man7 instead.
    #[arg(long, value_name = "FOLDER", conflicts_with = "page")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ManPage {
    /// Commands, signals and exit codes: mqtt-lb(1).
    #[value(name = "mqtt-lb")]
    MqttLb,
    /// Every configuration key: mqtt-lb.yaml(5).
    #[value(alias = "mqtt-lb.yaml")]
    Yaml,
    /// Operation, tuning and troubleshooting: mqtt-lb-ops(7).
    #[value(alias = "mqtt-lb-ops")]
    Ops,
}

impl ManPage {
    const fn name(self) -> &'static str {
        match self {
            Self::MqttLb => "mqtt-lb",
            Self::Yaml => "mqtt-lb.yaml",
            Self::Ops => "mqtt-lb-ops",
        }
    }

    /// The section of the manual: 1 commands, 5 file formats, 7 conventions.
    const fn section(self) -> u8 {
        match self {
            Self::MqttLb => 1,
            Self::Yaml => 5,
            Self::Ops => 7,
        }
    }

    const fn markdown(self) -> &'static str {
        match self {
            Self::MqttLb => include_str!("../../../deploy/man/mqtt-lb.1.md"),
            Self::Yaml => include_str!("../../../deploy/man/mqtt-lb.yaml.5.md"),
            Self::Ops => include_str!("../../../deploy/man/mqtt-lb-ops.7.md"),
        }
    }

    fn roff(self) -> String {
        render::page(self.name(), self.section(), self.markdown())
    }
}

/// Prints a page, or writes all of them, with those of `command`.
pub(super) fn man(command: Command, args: &ManArgs) -> ExitCode {
    let (done, place) = match &args.dir {
        None => (io::stdout().write_all(args.page.roff().as_bytes()), "standard output".into()),
        Some(dir) => (write_all(command, dir), dir.to_string_lossy()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader, such as `head`, has closed the pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mqtt-lb man: cannot write to {place}: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Writes the pages, and one page for each command, such as `mqtt-lb-run(1)`.
fn write_all(command: Command, dir: &Path) -> io::Result<()> {
    let commands = dir.join("man1");
    fs::create_dir_all(&commands)?;
    // Without `help`, whose page would be empty.
    clap_mangen::generate_to(command.disable_help_subcommand(true), &commands)?;
    // After the generated pages: it replaces the generated mqtt-lb(1).
    for page in ManPage::value_variants() {
        let section = dir.join(format!("man{}", page.section()));
        fs::create_dir_all(&section)?;
        fs::write(section.join(format!("{}.{}", page.name(), page.section())), page.roff())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod yaml_page;

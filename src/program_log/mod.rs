//! The program's own log: its last lines in memory, and a writer that never blocks.

mod lossy_writer;
mod plain;
mod recent;
mod stderr;

pub(crate) use lossy_writer::LossyWriter;
pub use plain::PlainFields;
pub(crate) use plain::PlainJson;
pub(crate) use recent::LogLine;
pub use recent::ProgramLog;
pub(crate) use stderr::Stderr;

//! The program's own log: its last lines in memory, and a writer that never blocks.

mod lossy_writer;
mod plain;
mod recent;
mod stderr;

pub use lossy_writer::LossyWriter;
pub use plain::{PlainFields, PlainJson};
pub use recent::{LogLine, ProgramLog};
pub use stderr::Stderr;

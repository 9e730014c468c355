//! The writer of one log: its thread, its control flags, and the control thread's handle of it.

mod control;
mod handle;
mod thread;

pub(super) use control::WriterControl;
pub(super) use handle::{ClosingWriter, WriterHandle};

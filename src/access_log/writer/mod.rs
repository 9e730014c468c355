//! The writer of one log: its thread, what it is asked for, and the control thread's handle of it.

mod control;
mod handle;
mod thread;

pub(super) use control::WriterControl;
pub(super) use handle::{ClosingWriter, WriterHandle};

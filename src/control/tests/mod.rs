//! A proxy inside the process of the test, for what no configuration file can say.

mod key_limit;
mod moved_sessions;
mod peers;
mod running;
mod world;

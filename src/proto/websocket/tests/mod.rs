//! Frames and requests, without sockets; over sockets they are in `tests/proxy`.

mod frames;
mod offers;
mod requests;

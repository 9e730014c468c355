//! Sessions that move from one proxy to another, both in the process of the test: whatever a session
//! is in the middle of, its client and its broker see one stream, and the log one session.

mod fallback;
mod in_transit;
mod layers;
mod records;
mod two_proxies;

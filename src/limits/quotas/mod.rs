//! Quotas: how many connections may have one value of a template, such as one username.

mod key_counts;
mod leases;
mod quota;
#[cfg(test)]
mod tests;

pub(crate) use leases::{QuotaLeases, ReachedQuota};
pub(crate) use quota::{QuotaUsage, Quotas};

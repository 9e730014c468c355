//! DeclaredNames that are unique in a list, and references to them.

use std::sync::Arc;

use super::{Checker, Valid};
use crate::config::{
    at::At,
    fault::quote,
    values::{Name, Text},
};

/// The names of one list, in its order; `None` where an entry has no valid one.
#[derive(Default)]
pub(super) struct DeclaredNames(Vec<Option<Arc<str>>>);

impl DeclaredNames {
    /// Notes every name that an earlier entry has.
    pub(super) fn of<'v>(
        checker: &Checker<'_>,
        names: impl Iterator<Item = Option<&'v At<Name>>>,
    ) -> Self {
        let mut lines: Vec<(Option<Arc<str>>, usize)> = Vec::new();
        for at in names {
            let name = at.and_then(|at| at.value.clone()).map(|Name(name)| name);
            let line = at.map_or(0, |at| at.place().position.line);
            let earlier = lines.iter().find(|(other, _)| name.is_some() && *other == name);
            if let (Some((_, line)), Some(at), Some(name)) = (earlier, at, &name) {
                let what = format!("{} is taken at line {line}", quote(name));
                checker.wrong(&at.place(), what, "a name of its own");
            }
            lines.push((name, line));
        }
        Self(lines.into_iter().map(|(name, _)| name).collect())
    }

    /// The index of the entry with this name. An unknown name is not a fault if the list is not
    /// `valid`: it may be the name of an entry whose name has a fault.
    pub(super) fn find(&self, checker: &Checker<'_>, at: &At<Text>, valid: bool) -> Valid<usize> {
        let Text(wanted) = at.get()?;
        let known = || self.0.iter().flatten().map(|name| &**name);
        let position = self.0.iter().position(|name| name.as_deref() == Some(&**wanted));
        let maybe_meant = !valid && (self.0.is_empty() || self.0.contains(&None));
        match position {
            Some(index) => Ok(index),
            None if maybe_meant => Err(super::checker::Reported::already()),
            None => {
                let what = format!("{} is not a pool", quote(wanted));
                Err(checker.wrong(&at.place(), what, &known().collect::<Vec<_>>().join(", ")))
            }
        }
    }
}

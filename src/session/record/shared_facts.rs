//! The facts about TLS that sessions have in common, kept once.

use std::{cell::RefCell, rc::Rc};

use crate::proto::TlsFacts;

/// How many different facts are remembered: the listeners and server names that most clients use,
/// each with a few cipher suites.
const MAX_FACTS: usize = 32;

/// The facts of the latest handshakes. The same facts cost a session no memory.
#[derive(Default)]
pub(super) struct SharedFacts(RefCell<Latest>);

#[derive(Default)]
struct Latest {
    facts: Vec<Rc<TlsFacts>>,
    /// The next to be replaced.
    oldest: usize,
}

impl SharedFacts {
    /// These facts, as an earlier connection has them if they are the same.
    pub(super) fn share(&self, facts: TlsFacts) -> Rc<TlsFacts> {
        // Two clients seldom have the same certificate.
        if facts.certificate.is_some() {
            return Rc::new(facts);
        }
        let Latest { facts: latest, oldest } = &mut *self.0.borrow_mut();
        if let Some(same) = latest.iter().find(|known| ***known == facts) {
            return same.clone();
        }
        let facts = Rc::new(facts);
        if latest.len() < MAX_FACTS {
            latest.push(facts.clone());
        } else {
            latest[*oldest] = facts.clone();
            *oldest = (*oldest + 1) % MAX_FACTS;
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::CertificateFacts;

    fn named(name: &str) -> TlsFacts {
        TlsFacts { sni: Some(name.into()), ..TlsFacts::default() }
    }

    #[test]
    fn the_same_facts_are_kept_once() {
        let shared = SharedFacts::default();
        let first = shared.share(named("a.example"));
        let other = shared.share(named("b.example"));
        assert!(Rc::ptr_eq(&first, &shared.share(named("a.example"))));
        assert_eq!((&*first, &*other), (&named("a.example"), &named("b.example")));
    }

    #[test]
    fn few_are_remembered() {
        let shared = SharedFacts::default();
        let first = shared.share(named("first"));
        for n in 0..2 * MAX_FACTS {
            shared.share(named(&n.to_string()));
        }
        assert_eq!(shared.0.borrow().facts.len(), MAX_FACTS);
        assert_eq!(Rc::strong_count(&first), 1, "forgotten");
        let again = shared.share(named("first"));
        assert!(!Rc::ptr_eq(&first, &again));
        assert_eq!(Rc::strong_count(&again), 2);
    }

    #[test]
    fn certificates_are_not_remembered() {
        let shared = SharedFacts::default();
        let certificate = Some(Box::new(CertificateFacts::default()));
        let facts = shared.share(TlsFacts { certificate, ..TlsFacts::default() });
        assert_eq!(Rc::strong_count(&facts), 1);
        assert_eq!(shared.0.borrow().facts.len(), 0);
    }
}

//! A pool that serves nobody: its brokers take connections, and hang up on every CONNECT.

use std::path::Path;

use super::State;
use crate::{
    Outcome,
    device::{WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{
        self, Drain, FilesChanged, IdentityChanged, LimitsChanged, ListenerMoved, RulesChanged,
        Unchanged, Upgrade,
    },
    stub::Behavior,
};

pub(super) struct ServesNobody;

impl State for ServesNobody {
    fn name(&self) -> &'static str {
        "serves nobody"
    }

    fn configure(&mut self, _: &mut File, _: &Brokers, _: Operation, _: &Path) {}

    fn change_own_key(&mut self, file: &mut File) {
        let Some(pool) = &mut file.pool else { return };
        pool.keys.insert("connack_timeout", "50s".to_owned());
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        for broker in [&fixture.brokers.b1, &fixture.brokers.b2] {
            broker.behave(Behavior::Reset);
            broker.ignore_probes();
        }
        let mut n = 0;
        until_right(WITHIN, || {
            n += 1;
            let device = fixture.open(&format!("refused{n}"))?;
            until_right(WITHIN, || {
                let refused = device.has_news();
                if refused { Ok(()) } else { Err("a client hears nothing".to_owned()) }
            })?;
            let status = fixture.api.broker("b1")?.status;
            if status == "failing" { Ok(()) } else { Err(format!("b1 is {status}")) }
        })?;
        match fixture.api.code_of("/readyz")? {
            503 => Ok(()),
            code => Err(format!("/readyz says {code} while the pool serves nobody")),
        }
    }

    /// Where the pool is the same it is still known, and anywhere else it is not; then all are well.
    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        let is_known = matches!(
            operation,
            Unchanged
                | ListenerMoved
                | IdentityChanged
                | RulesChanged
                | LimitsChanged
                | FilesChanged
                | Upgrade
        );
        let (known, code) = if is_known { ("failing", 503) } else { ("up", 200) };
        if operation.keeps_b1() {
            let status = fixture.api.broker("b1")?.status;
            if status != known {
                return Err(format!("b1 is {status}, not {known}"));
            }
        }
        if !matches!(operation, Drain) {
            let said = fixture.api.code_of("/readyz")?;
            if said != code {
                return Err(format!("/readyz says {said}, not {code}"));
            }
        }
        fixture.brokers.heal();
        Ok(())
    }

    /// Without a client, if need be.
    fn settle(&mut self, fixture: &mut Fixture, _: &dyn Fn(&str) -> Outcome<String>) -> Outcome {
        until_right(WITHIN, || match fixture.api.code_of("/readyz")? {
            200 => Ok(()),
            code => Err(format!("/readyz says {code}, and all is well")),
        })
    }
}

//! Limits that are reached.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Instant,
};

use socket2::{Domain, Socket, Type};

use super::State;
use crate::{
    Outcome,
    cell::NEWCOMERS,
    device::{Device, WITHIN, until_right},
    file::File,
    fixture::{Brokers, Fixture},
    operations::Operation::{self, Drain, OwnKey, PoolRemoved, Upgrade},
};

/// Above what all clients of a cell need that come from 127.0.0.1.
const MOST: usize = 150;

/// Where the clients come from that reach the limit.
const CROWDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// One address has all the connections that it may have, and a tenth more; one of them is a session.
#[derive(Default)]
pub(super) struct AddressAtLimit {
    silent: Vec<Device>,
}

impl AddressAtLimit {
    /// A connection from the crowded address.
    fn come(fixture: &mut Fixture, id: &str) -> Outcome<Device> {
        let address = fixture.listener();
        let failed = |error: std::io::Error| format!("client {id}: {error}");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(failed)?;
        socket.bind(&SocketAddr::from((CROWDED, 0)).into()).map_err(failed)?;
        socket.connect_timeout(&address.into(), WITHIN).map_err(failed)?;
        fixture.opened += 1;
        Ok(Device::on(socket.into(), id))
    }

    fn returns(fixture: &mut Fixture) -> Outcome<Device> {
        let mut device = Self::come(fixture, "returning")?;
        device.connect()?;
        device.expect_accepted(Instant::now() + WITHIN)?;
        Ok(device)
    }
}

impl State for AddressAtLimit {
    fn name(&self) -> &'static str {
        "address at its limit"
    }

    fn configure(&mut self, file: &mut File, _: &Brokers, _: Operation, _: &Path) {
        file.top.insert("limits", format!("{{ max_connections_per_ip: {MOST} }}"));
    }

    fn change_own_key(&mut self, file: &mut File) {
        file.top.insert("limits", format!("{{ max_connections_per_ip: {} }}", 2 * MOST));
    }

    fn enter(&mut self, fixture: &mut Fixture, _: Operation) -> Outcome {
        let first = Self::returns(fixture)?;
        for n in 1..MOST + MOST / 10 {
            self.silent.push(Self::come(fixture, &format!("silent{n}"))?);
        }
        self.silent.push(first);
        let count = fixture.held.len() + self.silent.len();
        until_right(WITHIN, || {
            let active = crate::api::sum(&fixture.samples()?, "connections_active", None) as usize;
            if active == count { Ok(()) } else { Err(format!("{active} connections of {count}")) }
        })
    }

    /// One more is closed, unless the limit is another one, or of another process.
    fn at_once(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if operation == Drain {
            return Ok(());
        }
        let mut device = Self::come(fixture, "beyond")?;
        let sent = device.connect();
        let heard = device.expect_accepted(Instant::now() + WITHIN);
        match (operation, sent.and(heard)) {
            // Those that have sent nothing are left with the process before, which counts them.
            (OwnKey | Upgrade, heard) => heard,
            (_, Ok(())) => Err("one beyond the limit is let in".to_owned()),
            (_, Err(_)) => Ok(()),
        }
    }

    /// When a few have left, the session that was there gives its place to its own client.
    fn heal(&mut self, fixture: &mut Fixture, operation: Operation) -> Outcome {
        if matches!(operation, Drain | PoolRemoved) {
            self.silent.clear();
            return Ok(());
        }
        let older = self.silent.pop();
        self.silent.truncate(MOST - 1);
        let active = |fixture: &Fixture| -> Outcome<usize> {
            Ok(crate::api::sum(&fixture.samples()?, "connections_active", None) as usize)
        };
        until_right(WITHIN, || {
            let others = fixture.held.len() + NEWCOMERS;
            match active(fixture)?.saturating_sub(others) {
                ..=MOST => Ok(()),
                count => Err(format!("{count} connections of the address stay")),
            }
        })?;
        let returned = Self::returns(fixture)?;
        fixture.held.push(returned);
        drop(older);
        self.silent.clear();
        Ok(())
    }
}

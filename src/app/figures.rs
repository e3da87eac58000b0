//! The figures that the console and the metrics ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::App;
use crate::admin::{PoolFigures, Registry, metrics};
use crate::cancel::Seat;
use crate::client::card::Login;
use crate::config::Config;
use crate::http::Pages;

impl Registry for App {
    fn config(&self) -> &Config {
        &self.config
    }

    fn pools(&self) -> Vec<PoolFigures> {
        let seats = self.clients();
        let mut clients: HashMap<&Login, usize> = HashMap::new();
        for seat in &seats {
            *clients.entry(&seat.card().login).or_default() += 1;
        }
        let figures = self.tenancies.list().into_iter().map(|tenancy| {
            let snapshot = tenancy.pool.snapshot();
            let clients = clients.get(&*tenancy.login).copied().unwrap_or(0);
            PoolFigures {
                name: tenancy.pool.name().clone(),
                mode: tenancy.terms.mode,
                // Clients and pool were not read at the same moment.
                clients_active: clients.saturating_sub(snapshot.waiting),
                snapshot,
            }
        });
        let mut figures: Vec<_> = figures.collect();
        figures.sort_by(|a, b| a.name.cmp(&b.name));
        figures
    }

    fn clients(&self) -> Vec<Arc<Seat>> {
        self.house.cancels.list()
    }

    fn strangers(&self) -> usize {
        self.door.strangers()
    }

    fn certificate_expires(&self) -> Option<SystemTime> {
        Some(self.tls.with_clients()?.expiry()?.at)
    }
}

impl Pages for App {
    fn metrics(&self) -> String {
        metrics::text(self)
    }

    fn is_ready(&self) -> bool {
        !*self.stop.borrow()
    }
}

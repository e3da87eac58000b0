//! Pools follow the primary of a database with several hosts.

use std::collections::HashMap;

use super::{Moved, Tenancies};
use crate::app::design::{address, address_of};
use crate::config::{Config, Database, HostPort};
use crate::net::socket::Address;
use crate::pool::Prospect;

/// What is known of a database's primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) enum Whereabouts {
    /// It is this host.
    At(HostPort),
    /// It is being searched for: clients wait.
    Sought,
    /// It has been searched for in vain: clients are refused.
    GivenUp,
}

/// The primaries of databases with several hosts, by their names in the configuration. Of those
/// that are missing nothing has been heard.
#[derive(Debug, Default)]
pub(super) struct Primaries(HashMap<String, Whereabouts>);

impl Primaries {
    /// Forgets what another configuration does not have.
    pub(super) fn go_by(&mut self, config: &Config) {
        self.0.retain(|name, whereabouts| {
            let database = config.databases.get(name).filter(|database| database.seeks_primary());
            database.is_some_and(|database| match whereabouts {
                Whereabouts::At(host) => database.all_hosts().contains(host),
                Whereabouts::Sought | Whereabouts::GivenUp => true,
            })
        });
    }

    /// Where servers of a database are opened: at its primary; at `now`, if none is known and that
    /// is one of its hosts.
    pub(super) fn address(
        &self,
        config: &Config,
        database: &Database,
        now: Option<Address>,
    ) -> Address {
        match self.of(config, database) {
            Some(Whereabouts::At(host)) => address_of(host),
            _ => {
                let hosts = database.all_hosts();
                let known = |now: &Address| hosts.iter().any(|host| address_of(host) == *now);
                now.filter(known).unwrap_or_else(|| address(database))
            }
        }
    }

    /// What a pool of a database can look forward to.
    pub(super) fn prospect(&self, config: &Config, database: &Database) -> Prospect {
        match self.of(config, database) {
            Some(Whereabouts::At(_)) => Prospect::Open,
            Some(Whereabouts::GivenUp) => Prospect::Hopeless,
            Some(Whereabouts::Sought) => Prospect::Awaited,
            None if database.seeks_primary() => Prospect::Awaited,
            None => Prospect::Open,
        }
    }

    fn of(&self, config: &Config, database: &Database) -> Option<&Whereabouts> {
        self.0.get(listed_as(config, &database.name))
    }
}

/// The name in the configuration of the table that a database is made of.
pub(super) fn listed_as<'a>(config: &Config, name: &'a str) -> &'a str {
    if config.is_auto(name) { "*" } else { name }
}

impl Tenancies {
    /// Where clients of a database find its primary; `None` when none is known.
    pub(in crate::app) fn primary(&self, database: &Database) -> Option<Address> {
        let book = self.book.lock();
        let config = &book.setup.config;
        let open = book.primaries.prospect(config, database) == Prospect::Open;
        open.then(|| book.primaries.address(config, database, None))
    }

    /// The primary of these databases is there from now on, or not known. Those who are at another
    /// host have nothing to do there any more, when it is known. Whether there may be some.
    pub(in crate::app) fn turn(&self, databases: &[String], whereabouts: &Whereabouts) -> bool {
        let mut forsaken = false;
        let mut book = self.book.lock();
        let setup = book.setup.clone();
        let names = databases.iter().map(|name| (name.clone(), whereabouts.clone()));
        book.primaries.0.extend(names);
        let mut moved = Moved::default();
        for tenancy in book.known.values() {
            let name = listed_as(&setup.config, &tenancy.login.database);
            if !databases.iter().any(|database| database == name) {
                continue;
            }
            let connector = tenancy.pool.connector();
            if let Whereabouts::At(host) = whereabouts
                && connector.target().address != address_of(host)
            {
                connector.forsake();
                forsaken = true;
            }
            // The terms are the same, and so there is no successor.
            let known = (&book.primaries, &book.watched);
            self.adapt(&setup, &setup, known, tenancy, &mut moved);
        }
        forsaken
    }
}

//! Hosts that are as good as one another: which one a server is opened on.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::breaker::{self, Breaker, Circuit, Limits};
use super::cluster::{HostFigures, Standing};
use super::health::State;
use crate::config::{HostPort, LoadBalance};
use crate::events::Events;
use crate::net::socket::Address;
use crate::server::hosts::Hosts;

/// What a balance is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The hosts, in their order.
    pub hosts: Vec<HostPort>,
    /// How servers are spread over them.
    pub spread: LoadBalance,
    /// When a host is left out.
    pub limits: Limits,
    /// The longest attempt at one that is not the last.
    pub patience: Duration,
}

/// The hosts, and what has become of attempts at each.
#[derive(Debug)]
pub struct Balance {
    plan: Plan,
    /// Where it is told that a host is left out.
    log: Arc<Events>,
    state: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    turn: usize,
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    address: Address,
    breaker: Breaker,
    state: State,
    since: Instant,
    error: Option<String>,
}

impl Balance {
    /// Hosts that nobody has tried. `address` says where one listens.
    pub fn new(plan: Plan, log: Arc<Events>, address: impl Fn(&HostPort) -> Address) -> Arc<Self> {
        let now = Instant::now();
        let host = |host: &HostPort| Host {
            address: address(host),
            breaker: Breaker::new(plan.limits),
            state: State::Unknown,
            since: now,
            error: None,
        };
        let hosts = plan.hosts.iter().map(host).collect();
        Arc::new(Self { plan, log, state: Mutex::new(Books { turn: 0, hosts }) })
    }

    /// What it was made of.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What there is to tell of each host, in their order.
    pub fn figures(&self) -> Vec<HostFigures> {
        let now = Instant::now();
        let state = self.state.lock();
        let figures = self.plan.hosts.iter().zip(&state.hosts).map(|(at, host)| HostFigures {
            at: at.clone(),
            standing: Standing::Equal,
            state: host.state,
            since: host.since,
            timeline: None,
            lsn: None,
            fresh_as_of: None,
            lag_bytes: None,
            circuit: Some(host.breaker.circuit(now)),
            used: 0,
            banned_until: None,
            error: host.error.clone(),
        });
        figures.collect()
    }
}

impl Hosts for Balance {
    fn order(&self) -> Vec<Address> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let count = state.hosts.len().max(1);
        let first = match self.plan.spread {
            LoadBalance::Disable => 0,
            LoadBalance::RoundRobin => {
                state.turn = (state.turn + 1) % count;
                (state.turn + count - 1) % count
            }
        };
        state.hosts.rotate_left(first);
        let mut order: Vec<Address> = state
            .hosts
            .iter()
            .filter(|host| host.breaker.circuit(now) == Circuit::Closed)
            .map(|host| host.address.clone())
            .collect();
        // One that may be there again is tried first, as long as there are others to fall back on.
        let mut half_open =
            state.hosts.iter_mut().filter(|host| host.breaker.circuit(now) == Circuit::HalfOpen);
        let trial =
            half_open.find_map(|host| host.breaker.admit(now).then(|| host.address.clone()));
        if let Some(trial) = trial {
            order.insert(0, trial);
        }
        // None is better than all the others when all are left out.
        if order.is_empty() {
            order = state.hosts.iter().map(|host| host.address.clone()).collect();
        }
        state.hosts.rotate_right(first);
        order
    }

    fn patience(&self) -> Duration {
        self.plan.patience
    }

    fn tried(&self, host: &Address, failure: Option<String>) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let Some(host) = state.hosts.iter_mut().find(|known| known.address == *host) else {
            return;
        };
        let before = host.breaker.circuit(now);
        host.breaker.tried(failure.is_some(), now);
        let after = host.breaker.circuit(now);
        let next = if failure.is_some() { State::Down } else { State::Up };
        if host.state != next {
            (host.state, host.since) = (next, now);
        }
        host.error = failure;
        let (address, error) = (host.address.clone(), host.error.clone().unwrap_or_default());
        drop(state);
        breaker::tell(&self.log, &address, (before, after), &error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: Duration = Duration::from_secs(30);

    fn balance(spread: LoadBalance) -> Arc<Balance> {
        let hosts = ["a", "b", "c"].map(|host| HostPort { host: host.to_owned(), port: 1 }).into();
        let limits = Limits { errors: 50, reset: RESET };
        let plan = Plan { hosts, spread, limits, patience: Duration::from_secs(3) };
        Balance::new(plan, Arc::new(Events::new(10)), |at| Address::Tcp(at.host.clone(), at.port))
    }

    fn at(host: &str) -> Address {
        Address::Tcp(host.to_owned(), 1)
    }

    fn order(balance: &Balance) -> String {
        let name = |address: Address| match address {
            Address::Tcp(host, _) => host,
            Address::Unix(path) => path.display().to_string(),
        };
        balance.order().into_iter().map(name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_host_has_its_turn_or_the_first_has_all() {
        let (robin, first) = (balance(LoadBalance::RoundRobin), balance(LoadBalance::Disable));
        let orders: Vec<_> = (0..4).map(|_| order(&robin)).collect();
        assert_eq!(orders, ["abc", "bca", "cab", "abc"]);
        assert_eq!((order(&first), order(&first)), ("abc".to_owned(), "abc".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn host_that_fails_is_left_out_until_one_attempt_goes_well() {
        let balance = balance(LoadBalance::Disable);
        for _ in 0..3 {
            balance.tried(&at("a"), Some("gone".to_owned()));
        }
        assert_eq!(order(&balance), "bc");
        tokio::time::advance(RESET).await;
        assert_eq!(order(&balance), "abc", "one attempt");
        assert_eq!(order(&balance), "bc", "and no other meanwhile");
        balance.tried(&at("a"), None);
        assert_eq!(order(&balance), "abc");
        for host in ["a", "b", "c"].repeat(3) {
            balance.tried(&at(host), Some("gone".to_owned()));
        }
        assert_eq!(order(&balance), "abc", "all are tried when all are left out");
        let figures = balance.figures();
        assert!(figures.iter().all(|host| host.circuit == Some(Circuit::Open)));
    }
}

//! What is asked of a request before it may ask for a server: that its client does not ask too
//! often.

use std::sync::Arc;

use super::{End, Session};
use crate::client::condition::{self, wait_for};
use crate::client::pace::Pace;
use crate::wire::reply::Report;

/// Limits on a client's requests. Most clients have none.
#[derive(Debug)]
pub struct Gate {
    /// The limits' keys, and what is left of them.
    pub paces: Vec<(&'static str, Arc<Pace>)>,
}

impl Gate {
    /// Why a request may not ask for a server now. A token that another limit has given is gone:
    /// asking costs.
    fn objection(&self) -> Option<Report> {
        self.paces.iter().find_map(|(key, pace)| {
            let wait = pace.take().err()?;
            Some(wait_for(condition::QUERY_RATE, key, wait))
        })
    }
}

impl Session {
    /// Refuses the requests in `bytes` if their client may not ask for a server now: gives the
    /// number of bytes that this took, and 0 when it may.
    pub(super) fn stop_at_gate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, End> {
        let Some(report) = self.gate.as_ref().and_then(|gate| gate.objection()) else {
            return Ok(0);
        };
        let message_max = self.tenancy.terms.message_max;
        let Self { client, names, .. } = self;
        Ok(client.ignore.refuse(bytes, message_max, names, &report, out)?)
    }
}

//! Which replicas a session has read from when it read over several shards.

use std::sync::{Arc, Weak};

use tokio::time::Instant;

use super::super::Replicas;
use super::Sharded;
use crate::shard::ShardId;

/// When that was last, and the replicas: of which shard, among which hosts, and which of those.
#[derive(Debug, Default)]
pub(super) struct Parts {
    at: Option<Instant>,
    replicas: Box<[(ShardId, Weak<Replicas>, usize)]>,
}

impl Sharded {
    /// A request was read over several shards up to this moment, from these replicas.
    pub(in crate::session) fn read_from<'r>(
        &mut self,
        at: Instant,
        replicas: impl Iterator<Item = (ShardId, &'r Arc<Replicas>, usize)>,
    ) {
        let weak = |(shard, among, host)| (shard, Arc::downgrade(among), host);
        self.parts = Parts { at: Some(at), replicas: replicas.map(weak).collect() };
    }

    /// The replica of a shard that it has read from, where nothing was read since: at this moment it has read
    /// last.
    pub(in crate::session) fn reads_from(
        &self,
        shard: ShardId,
        seen: Option<Instant>,
    ) -> Option<usize> {
        let Parts { at, replicas } = &self.parts;
        let (_, among, host) = replicas.iter().find(|(of, ..)| *of == shard && *at == seen)?;
        let tenancy = self.tenancy_on(shard);
        let replicas = tenancy.replicas.as_ref()?;
        among.ptr_eq(&Arc::downgrade(replicas)).then_some(*host)
    }
}

//! What the next requests are understood by that is not settled yet.

use super::planner::Planner;
use super::plans::Planned;
use crate::server::manner::Manner;
use crate::server::unseen::Unseen;
use crate::shard::ShardId;
use crate::sql::behind;

/// What of a session is not settled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Doubt {
    /// How the client's strings are encoded may have been changed.
    pub recodes: bool,
    /// What has been said of the shard since the settings were learnt.
    pub said: Said,
    /// What has been said of the schemas that names are looked up in.
    pub path: SaidPath,
    /// A transaction is open, and nothing is under way.
    pub inside: bool,
}

/// What has been said of `search_path` since the settings were learnt, where schemas say where their tables
/// are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) enum SaidPath {
    /// Nothing.
    #[default]
    Settled,
    /// That it names a schema of this shard, or none that says where its tables are.
    Here(Option<ShardId>),
    /// Something.
    Unclear,
}

impl Doubt {
    /// Where requests are for is what the settings say.
    pub(in crate::session) fn is_settled(&self) -> bool {
        self.said == Said::Settled && self.path == SaidPath::Settled
    }

    /// What has been said goes if what said it fails.
    pub(super) fn may_fail(&mut self) {
        if self.said != Said::Settled {
            self.said = Said::Unclear;
        }
        if self.path != SaidPath::Settled {
            self.path = SaidPath::Unclear;
        }
    }

    /// The settings say it again.
    pub(in crate::session) fn settle(&mut self) {
        (self.said, self.path) = (Said::Settled, SaidPath::Settled);
    }
}

/// What has been said of the shard since the settings were learnt that say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) enum Said {
    /// Nothing.
    #[default]
    Settled,
    /// That the settings name these.
    Here(Named),
    /// Something.
    Unclear,
}

/// The shards that settings name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Named {
    /// `pgweir.shard`.
    pub by_name: Option<ShardId>,
    /// `pgweir.shard_key`.
    pub by_key: Option<ShardId>,
}

impl Planner<'_> {
    /// A text is run: where the next ones are for is in doubt where its code may say so.
    pub(super) fn doubt_code(&self, text: &[u8], planned: &Planned, doubt: &mut Doubt) {
        if !planned.code {
            return;
        }
        let (by_hand, by_schema) =
            (self.is_by_hand(doubt.said), self.layout.sharding.schemas().is_some());
        if (by_hand || by_schema) && self.runs_code(text, planned) {
            doubt.said = if by_hand { Said::Unclear } else { doubt.said };
            doubt.path = if by_schema { SaidPath::Unclear } else { doubt.path };
        }
    }

    /// Whether code that a text runs may set something that is not seen in it.
    pub(super) fn runs_code(&self, text: &[u8], planned: &Planned) -> bool {
        let may_set = |unseen: &Unseen| behind(text, &["do"]).is_some() || unseen.may_set(text);
        planned.code && self.unseen.is_none_or(may_set)
    }

    /// Whether settings name a shard.
    pub(super) fn is_by_hand(&self, said: Said) -> bool {
        let Manner { shard, shard_key, .. } = self.manner;
        said != Said::Settled || shard.is_some() || shard_key.is_some()
    }

    /// What has been said when a setting has named this shard; the other one stays as it is.
    pub(super) fn said_behind(&self, said: Said, set: Forced) -> Said {
        let Manner { shard, shard_key, .. } = self.manner;
        let known = match (said, set.by_name) {
            (Said::Here(named), _) => Ok(named),
            (Said::Unclear, _) => Ok(Named::default()),
            (Said::Settled, true) => {
                let by_key = shard_key.as_ref().map(|key| self.shard_of_key(key)).transpose();
                by_key.map(|by_key| Named { by_key, by_name: None })
            }
            (Said::Settled, false) => {
                let by_name = shard.as_ref().map(|name| self.shard_of_name(name)).transpose();
                by_name.map(|by_name| Named { by_name, by_key: None })
            }
        };
        match (known, set) {
            (Err(_), _) => Said::Unclear,
            (Ok(known), Forced { shard, by_name: true }) => {
                Said::Here(Named { by_name: Some(shard), ..known })
            }
            (Ok(known), Forced { shard, by_name: false }) => {
                Said::Here(Named { by_key: Some(shard), ..known })
            }
        }
    }
}

/// A shard that has been named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Forced {
    /// Which.
    pub shard: ShardId,
    /// By its own name, not by a key of it.
    pub by_name: bool,
}

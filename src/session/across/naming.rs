//! What names of statements stand for before and behind a request over several shards: it is prepared on each
//! for this request alone, and known to the client's session.

use std::sync::Arc;

use super::asked::{Asked, Naming};
use super::{Session, Vain};
use crate::client::condition;
use crate::server::prepared::text_of;
use crate::session::names::{NamesUndo, Unnamed, size_of};
use crate::session::report::prepared_twice;
use crate::sql;

impl Session {
    /// Whether the name that it gives to a statement is free, and there is room for that.
    pub(super) fn may_name(&self, asked: &Asked) -> Result<(), Vain> {
        let (mut bytes, mut freed) = (self.names.bytes(), Vec::new());
        for naming in &asked.names {
            match naming {
                Naming::Freed(name) if !name.is_empty() => {
                    let before = self.names.get(name).filter(|_| !freed.contains(&name));
                    bytes -= before.map_or(0, |before| size_of(name, &before.identity));
                    freed.push(name);
                }
                Naming::Stands(name) if !name.is_empty() => {
                    if self.names.get(name).is_some() && !freed.contains(&name) {
                        prepared_twice(&self.tenancy, self.seat.card(), name);
                        let name = String::from_utf8_lossy(name);
                        return Err(Vain::Refused(Box::new(condition::NAME_TAKEN.about(name))));
                    }
                    bytes = bytes.saturating_add(size_of(name, &asked.identity));
                    if bytes > self.tenancy.terms.client_statements_max {
                        return Err(Vain::Refused(Box::new(condition::STATEMENTS_FULL.report())));
                    }
                }
                Naming::Stands(_) | Naming::Freed(_) => {}
            }
        }
        Ok(())
    }

    /// What the request's messages have said of names counts now.
    pub(super) fn take_names(&mut self, asked: &Asked, names: &[Naming]) {
        for naming in names {
            match naming {
                Naming::Stands(name) if name.is_empty() => {
                    let unnamed = Unnamed::Elsewhere(Arc::from(&*asked.identity));
                    self.names.set_unnamed(&mut NamesUndo::default(), 0, unnamed);
                }
                Naming::Freed(name) if name.is_empty() => self.names.drop_unnamed(),
                Naming::Stands(name) => {
                    let (lookup, version) = (self.params.lookup(), self.tenancy.schema.version());
                    let effects = || sql::effects(text_of(&asked.identity));
                    let statements = &self.tenancy.house.statements;
                    let statement = statements.share(&asked.identity, lookup, version, effects);
                    self.names.prepare(&mut NamesUndo::default(), 0, name, statement);
                }
                Naming::Freed(name) => self.names.deallocate(Some(name)),
            }
        }
    }
}

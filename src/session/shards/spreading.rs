//! What becomes of a statement that is for several shards.

use super::planner::Planner;
use super::refusals::{not_utf8, refusal_of, refused, without_shard};
use crate::shard::copy::Format;
use crate::shard::{ShardId, Values};
use crate::sql::fan::{Defining, Fan, Rows, defining};
use crate::sql::keys::{
    Access, Construct, CopyIn, Everywhere, Keyed, Plan, Refusal, Spread, Table, Tables as _,
};
use crate::wire::reply::Report;

/// See the module.
#[derive(Debug)]
pub(in crate::session) enum Spreading<'t> {
    /// It reads.
    Reads(Box<Fan>),
    /// It changes the rows that each shard has.
    Changes,
    /// It changes rows that all of them have.
    Copies,
    /// Each row of this INSERT goes to its shard, by its number.
    Rows(Rows<'t>, Vec<ShardId>),
    /// It defines something on all of them.
    Defines(Defining),
    /// Rows come from the client.
    CopyIn {
        /// How they are written.
        format: Format,
        /// Where their keys are.
        to: CopyIn,
    },
}

impl Planner<'_> {
    /// Says it of a statement that was found to be for several shards, with these values.
    pub(in crate::session) fn spreading<'t>(
        &self,
        text: &'t [u8],
        values: &mut Values<'_>,
    ) -> Result<Spreading<'t>, Box<Report>> {
        let planned = self.planned(text);
        self.as_strings_are(&planned, values);
        let known = self.known();
        let known = known.as_deref();
        let spreading = match &planned.plan {
            Plan::AllShards(Everywhere { access: Access::Reads, .. })
            | Plan::Keyed(Keyed { access: Access::Reads, .. }) => {
                self.layout.fan(text, known).map(|fan| Spreading::Reads(Box::new(fan)))
            }
            Plan::Keyed(keyed) if keyed.spread == Spread::Rows => {
                return self.rows(text, keyed, values);
            }
            Plan::Keyed(_) | Plan::AllShards(_) => {
                self.layout.changes(text, known, false).map(|()| Spreading::Changes)
            }
            Plan::Reference(_) => {
                self.layout.changes(text, known, true).map(|()| Spreading::Copies)
            }
            Plan::CopyIn(to) => return self.copies_in(text, to),
            Plan::Default | Plan::Defines | Plan::Session => defining(text).map(Spreading::Defines),
            Plan::Refused(why) => Err(why.clone()),
        };
        spreading.map_err(|why| refusal_of(&why))
    }

    fn copies_in<'t>(&self, text: &'t [u8], to: &CopyIn) -> Result<Spreading<'t>, Box<Report>> {
        let key = match self.layout.sharding.table(&to.table) {
            Table::Sharded { key, .. } => key,
            _ => "",
        };
        let format = std::str::from_utf8(text)
            .map_err(|_not_utf8| Construct::Text)
            .and_then(|text| Format::read(text, key, self.strings()));
        let sharding = self.layout.typed(self.known().as_deref());
        if let Some((_, keys)) = sharding.groups().nth(usize::from(to.group)) {
            keys.map_err(|why| without_shard(&why))?;
        }
        let about = |construct| refusal_of(&Refusal { table: Some(to.table.clone()), construct });
        let format = format.map_err(about)?;
        if !self.utf8() && !format.utf8 {
            return Err(not_utf8());
        }
        Ok(Spreading::CopyIn { format, to: to.clone() })
    }

    fn rows<'t>(
        &self,
        text: &'t [u8],
        keyed: &Keyed,
        values: &mut Values<'_>,
    ) -> Result<Spreading<'t>, Box<Report>> {
        let rows = Rows::read(text).map_err(|why| refusal_of(&why))?;
        let sharding = self.layout.typed(self.known().as_deref());
        let shard = |row| sharding.row(keyed, row, values);
        let shards = (0..rows.count()).map(shard).collect::<Result<Option<Vec<_>>, _>>();
        let slots = keyed.roots.first().and_then(|root| root.among.first());
        match shards.map_err(|why| without_shard(&why))? {
            Some(shards) if slots.is_some_and(|one| one.slots.len() == rows.count()) => {
                Ok(Spreading::Rows(rows, shards))
            }
            _ => {
                Err(refused("rows of an INSERT that can't be told apart", "Send them one by one."))
            }
        }
    }
}

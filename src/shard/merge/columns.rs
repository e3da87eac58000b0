//! What shards say of the columns of their rows.

use super::key::{Kind, Sorted, oid};
use super::{Fault, Manner, Texts};
use crate::sql::fan::{Column, Order, Ordered};
use crate::wire::parameters::Format;
use crate::wire::view::Fields;

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    name: Box<[u8]>,
    pub(super) type_oid: u32,
    /// The length of a `varchar(n)`, say; -1 is none.
    modifier: u32,
    pub(super) format: Format,
}

/// All columns of a shard's rows.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) fields: Vec<Field>,
    /// How many the client sees.
    pub(super) shown: usize,
}

impl Columns {
    /// Reads a RowDescription, which ends with columns that the client does not see.
    pub(super) fn read(body: &[u8], extras: u16) -> Option<Self> {
        let mut view = Fields::new(body);
        let count = view.short()?;
        let mut fields = Vec::new();
        for _ in 0..count {
            fields.push(Field::read(&mut view)?);
        }
        let shown = fields.len().checked_sub(extras.into())?;
        view.rest().is_empty().then_some(Self { fields, shown })
    }

    /// Whether another shard's columns are these, but for the tables that they are of.
    pub(super) fn are(&self, body: &[u8]) -> bool {
        let mut view = Fields::new(body);
        let Some(count) = view.short() else { return false };
        usize::from(count) == self.fields.len()
            && self.fields.iter().all(|field| Field::read(&mut view).as_ref() == Some(field))
    }

    pub(super) fn field(&self, at: usize) -> Result<&Field, Fault> {
        self.fields.get(at).ok_or(Fault::Differs)
    }

    /// How rows are ordered.
    pub(super) fn sorted(&self, order: &[Order], manner: &Manner) -> Result<Vec<Sorted>, Fault> {
        order.iter().map(|order| self.sorted_by(order, manner)).collect()
    }

    fn sorted_by(&self, order: &Order, manner: &Manner) -> Result<Sorted, Fault> {
        let mut manner = *manner;
        let column = match &order.column {
            Column::At(at) => usize::from(*at),
            Column::Extra(at) => self.shown + usize::from(*at),
            Column::Named(name) => {
                let shown = self.fields.iter().take(self.shown);
                let found = shown.into_iter().position(|field| *field.name == *name.as_bytes());
                found.ok_or_else(|| Fault::NoColumn(name.to_string()))?
            }
        };
        let field = self.field(column)?;
        let texts = match order.values {
            Ordered::ByType => manner.texts,
            Ordered::ByBytes => Texts::ByBytes,
            Ordered::TextOf(of) => {
                let ascii = self.field(of.into())?.is_told_by_text(&manner)?;
                // Of other characters the order may change with the encoding.
                manner.converts &= ascii == Ascii::No;
                Texts::ByBytes
            }
        };
        let kind = Kind::of(field.type_oid, field.format, texts, &manner)?;
        let Order { descending, nulls_first, .. } = *order;
        Ok(Sorted { column, kind, format: field.format, descending, nulls_first })
    }
}

impl Field {
    fn read(view: &mut Fields<'_>) -> Option<Self> {
        let name = view.cstr()?.into();
        view.bytes(6)?; // table and column
        let type_oid = view.word()?;
        view.short()?; // length
        let modifier = view.word()?;
        let format = match view.short()? {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return None,
        };
        Some(Self { name, type_oid, modifier, format })
    }

    /// That values are equal if and only if their texts are.
    fn is_told_by_text(&self, manner: &Manner) -> Result<Ascii, Fault> {
        let mut ascii = Ascii::Yes;
        let told = match self.type_oid {
            oid::BOOL | oid::INT2 | oid::INT4 | oid::INT8 | oid::OID => true,
            oid::UUID | oid::TIME | oid::BYTEA => true,
            oid::NAME => {
                ascii = Ascii::No;
                true
            }
            // Without a length of its own one has more blanks at its end than another that is equal.
            oid::BPCHAR if self.modifier == u32::MAX => false,
            oid::TEXT | oid::VARCHAR | oid::BPCHAR => {
                ascii = Ascii::No;
                manner.texts != Texts::Unknown
            }
            oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ if !manner.iso_dates => {
                return Err(Fault::DateStyle);
            }
            oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ => true,
            // With a scale of its own each has the same number of digits.
            oid::NUMERIC => self.modifier != u32::MAX,
            _ => false,
        };
        if told { Ok(ascii) } else { Err(Fault::NotTold(self.type_oid)) }
    }
}

/// Whether values have no other characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ascii {
    Yes,
    No,
}

/// The RowDescription that a client gets: that of a shard, without the columns behind the client's.
pub(super) fn shown(body: &[u8], extras: u16) -> Option<Vec<u8>> {
    let mut view = Fields::new(body);
    let count = view.short()?.checked_sub(extras)?;
    for _ in 0..count {
        Field::read(&mut view)?;
    }
    let len = body.len() - view.rest().len();
    let mut shown = count.to_be_bytes().to_vec();
    shown.extend_from_slice(body.get(2..len)?);
    Some(shown)
}

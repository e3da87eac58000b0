//! The end of a transaction that has no server, by the extended protocol: nobody has to be asked for it.

use super::answer::{NONE, tell};
use super::asked::{Asked, Step};
use crate::server::prepared::text_of;
use crate::session::Session;
use crate::sql::{Bracket, bracket};
use crate::wire::reply;

/// Of a Bind without parameters: no formats, no values.
const NO_PARAMETERS: [u8; 4] = [0; 4];

impl Session {
    /// Ends the transaction that no server has yet where this request does that, and nothing else; whether it
    /// does.
    pub(in crate::session) fn ends_held(&mut self, request: &[u8], out: &mut Vec<u8>) -> bool {
        let Ok(asked) = Asked::read(request, &self.names) else { return false };
        let Some(end @ (Bracket::Commit | Bracket::Rollback)) = bracket(text_of(&asked.identity))
        else {
            return false;
        };
        if asked.is_query || *asked.parameters != NO_PARAMETERS || self.may_name(&asked).is_err() {
            return false;
        }
        for step in &asked.steps {
            match step {
                Step::Rows => self.end_held(end, out),
                step => tell(*step, false, (&NONE, &[]), out),
            }
        }
        out.extend_from_slice(&reply::ready(b'I'));
        self.take_names(&asked, &asked.names);
        true
    }
}
